"""The learning rate over samples: warm-up, constant, then a linear decay to zero."""

from __future__ import annotations

from promptcodec.train.recipe import Recipe


def rate_factor(recipe: Recipe, samples: int, restarted: int | None = None) -> float:
    """Share of the recipe's learning rate for the batch after ``samples``.

    ``restarted``: the samples at which a run went on without its optimiser's moments, which a second, shorter warm-up
    builds again.
    """
    seen = samples + recipe.batch
    left = (recipe.samples - samples) / (recipe.decay * recipe.samples) if recipe.decay else 1.0
    again = (seen - restarted) / max(recipe.rewarm, 1) if restarted is not None else 1.0
    return min(1.0, seen / max(recipe.warmup, 1), again, max(left, 0.0))
