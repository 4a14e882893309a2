"""Where a run is kept: its recipe, its folder with log and checkpoint, and the copy that travels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from promptcodec.train.recipe import Recipe
from promptcodec.train.run.checkpoint import load_checkpoint, save_checkpoint
from promptcodec.train.run.distributed import World
from promptcodec.train.run.guard import Guard, GuardSettings
from promptcodec.train.run.portable import load_portable, save_portable


class Run:
    """A run of ``recipe`` in ``folder``, with a portable copy in the folder ``portable`` if one is given.

    ``say`` tells people what they should know.
    """

    def __init__(
        self, recipe: Recipe, folder: Path, portable: Path | None = None, say: Callable[[str], None] = print
    ) -> None:
        self.recipe, self.folder, self.portable, self.say = recipe, folder, portable, say

    def new_guard(self, world: World) -> Guard | None:
        """Make the guard that the recipe wants, None where it wants none. Raises UsageError for impossible bounds."""
        recipe = self.recipe
        if not recipe.guard:
            return None
        settings = GuardSettings(
            recipe.guard, recipe.guard_norm, recipe.guard_rate, recipe.guard_steps, recipe.guard_retries
        )
        return Guard(settings, self.folder, world)

    def load(self) -> dict[str, Any] | None:
        """Read the folder's checkpoint, None where it has none. Raises UsageError for files that are none."""
        return load_checkpoint(self.folder)

    def load_portable(self) -> dict[str, Any] | None:
        """Read the portable copy, None where there is none. Raises UsageError if it is damaged."""
        return load_portable(self.portable) if self.portable else None

    def save(self, state: dict[str, Any], guard: Guard | None) -> None:
        """Write the checkpoint, and its portable copy, which is of the last good state if the run may be diverging."""
        if guard is not None:
            guard.states.write()
        save_checkpoint(self.folder, state)
        if guard is not None:
            guard.states.sweep()
        if self.portable is not None:
            save_portable(self.portable, guard.copy_of(state) if guard is not None else state)

    def changes_since(self, state: dict[str, Any]) -> str:
        """Say in brackets what the recipe has changed since ``state`` was saved; nothing where it has not."""
        return self.recipe.changes_since(state.get("recipe"))
