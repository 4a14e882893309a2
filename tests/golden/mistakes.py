"""Mistakes that a second implementation of the papers' networks makes, put into ours for a test.

Golden vectors prove an equality only where they fail without it: every file is checked against mistakes of its kind.
Each function takes pytest's ``monkeypatch``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from promptcodec.model.base import CompressionModel
from promptcodec.model.entropy import causal, context
from promptcodec.model.entropy import prior as entropy
from promptcodec.model.layers import blocks, gdn, mixers, ngram
from promptcodec.model.layers.windows import WindowGrid
from promptcodec.steer.methods import beta, gain_units, modulation, pyramid

Patch = pytest.MonkeyPatch


def other_norm_epsilon(patch: Patch) -> None:
    """1e-6 in layer norms for 1e-5, and the other way round."""
    whole, other = F.layer_norm, {1e-5: 1e-6, 1e-6: 1e-5}
    patch.setattr(F, "layer_norm", lambda x, shape, weight, bias, eps: whole(x, shape, weight, bias, other[eps]))


def tanh_gelu(patch: Patch) -> None:
    whole = F.gelu
    patch.setattr(F, "gelu", lambda x, approximate="none": whole(x, approximate="tanh"))


def transposed_relative_bias(patch: Patch) -> None:
    """Key minus query position instead of query minus key."""
    whole = mixers.relative_index
    for module in (mixers, causal, ngram):
        patch.setattr(module, "relative_index", lambda window, device: whole(window, device).T)


def logits_divided_by_the_token_width(patch: Patch) -> None:
    """sqrt(channels), as papers print it, instead of sqrt(channels of a head)."""
    whole = mixers.window_attention
    patch.setattr(mixers, "window_attention", lambda q, k, v, bias: whole(q * q.shape[1] ** -0.5, k, v, bias))


def heads_out_of_order(patch: Patch) -> None:
    whole = mixers.WindowAttention.query
    patch.setattr(mixers.WindowAttention, "query", lambda self, q: whole(self, q.roll(1, -3)))


def shifts_in_the_hyper_transforms(patch: Patch) -> None:
    """Windows of 4 are shifted in every second block."""
    whole = blocks.Block.__init__

    def made(self: Any, channels: int, stage: Any, shifted: bool, drop_path: float) -> None:
        whole(self, channels, stage, shifted, drop_path)
        if isinstance(self.mixer, mixers.WindowAttention) and self.mixer.window == 4:
            self.mixer.shift = 2

    patch.setattr(blocks.Block, "__init__", made)


def no_shifts(patch: Patch) -> None:
    """Windows stay where they are in every block, those of prompts too."""

    def grid(self: Any, x: torch.Tensor) -> WindowGrid:
        return WindowGrid(x.shape[1], x.shape[2], self.window, 0)

    patch.setattr(mixers.WindowAttention, "grid", grid)


def shifted_windows_without_a_mask(patch: Patch) -> None:
    """Tokens see those that the shift brought beside them from the other border."""
    whole = mixers.WindowAttention.masked

    def masked(self: Any, bias: torch.Tensor, *labels: torch.Tensor) -> torch.Tensor:
        return whole(self, bias, *(torch.zeros_like(of) for of in labels))

    patch.setattr(mixers.WindowAttention, "masked", masked)


def no_outer_residual(patch: Patch) -> None:
    """A stage does not add its input once more."""
    whole = blocks.Stage.__init__

    def made(self: Any, *arguments: Any) -> None:
        whole(self, *arguments)
        self.residual = False

    patch.setattr(blocks.Stage, "__init__", made)


def means_before_scales(patch: Patch) -> None:
    whole = CompressionModel.hyper_parameters
    patch.setattr(CompressionModel, "hyper_parameters", lambda *a, **k: whole(*a, **k)[::-1])


def prompt_mask_in_the_other_order(patch: Patch) -> None:
    """The released code's order of mask columns for the paper's, and the other way round."""
    whole = mixers.WindowAttention.labels

    def labels(self: Any, grid: Any, prompts: Any, *rest: Any) -> Any:
        return whole(self, grid, [replace(p, compat_mask=not p.compat_mask) for p in prompts], *rest)

    patch.setattr(mixers.WindowAttention, "labels", labels)


def prompts_that_do_not_move_with_the_windows(patch: Patch) -> None:
    whole = mixers._prompt_grid
    patch.setattr(mixers, "_prompt_grid", lambda prompt, grid: replace(whole(prompt, grid), shift=0))


def normalised_prompts(patch: Patch) -> None:
    """Prompts pass a layer norm, as tokens do."""
    whole = mixers.WindowAttention._keys

    def keys(self: Any, prompt: Any, grid: Any) -> Any:
        tokens = prompt.tokens.permute(0, 2, 3, 1) if prompt.is_map else prompt.tokens
        normed = F.layer_norm(tokens, tokens.shape[-1:], None, None, 1e-5)
        return whole(self, replace(prompt, tokens=normed.permute(0, 3, 1, 2) if prompt.is_map else normed), grid)

    patch.setattr(mixers.WindowAttention, "_keys", keys)


def other_batch_norm_epsilon(patch: Patch) -> None:
    whole = F.batch_norm
    patch.setattr(F, "batch_norm", lambda *arguments: whole(*arguments[:-1], arguments[-1] / 10))


def corners_not_aligned(patch: Patch) -> None:
    whole = F.interpolate
    patch.setattr(F, "interpolate", lambda *a, **k: whole(*a, **k | {"align_corners": False}))


def controls_in_another_order(patch: Patch) -> None:
    """The scalar's plane behind the picture or the decoded latent."""
    whole = pyramid.PromptPyramid.forward
    patch.setattr(pyramid.PromptPyramid, "forward", lambda self, x: whole(self, x.roll(-1, 1)))


def scale_floor_in_double_precision(patch: Patch) -> None:
    patch.setattr(entropy, "SCALE_FLOOR", 0.11)


def likelihood_floor_in_double_precision(patch: Patch) -> None:
    patch.setattr(entropy, "LIKELIHOOD_FLOOR", 1e-9)


def bounds_without_gradients(patch: Patch) -> None:
    patch.setattr(entropy, "lower_bound", lambda x, bound: x.clamp_min(bound))


def unclamped_logit_scale(patch: Patch) -> None:
    patch.setattr(ngram, "LARGEST_LOGIT_SCALE", float("inf"))


def repeated_edge(patch: Patch) -> None:
    """Mirrors that repeat the edge itself: in the N-gram context and in reflecting convolutions."""

    def padded(x: torch.Tensor, count: int, after: bool) -> torch.Tensor:
        side = (0, count, 0, count) if after else (count, 0, count, 0)
        return pad(x, side, mode="replicate")

    pad = F.pad
    patch.setattr(ngram, "_reflected", padded)

    def replicated(x: torch.Tensor, sides: Any, mode: str = "constant", value: float | None = None) -> torch.Tensor:
        return pad(x, sides, mode="replicate" if mode == "reflect" else mode, value=value)

    patch.setattr(F, "pad", replicated)


def undecoded_tokens_left_out(patch: Patch) -> None:
    """Tokens of zeros stay zeros after the causal context's norm."""
    whole = causal.CausalContext._project

    def project(self: Any, tokens: torch.Tensor) -> torch.Tensor:
        return whole(self, tokens) * (tokens != 0).any(-1, keepdim=True)

    patch.setattr(causal.CausalContext, "_project", project)


def anchors_of_the_other_colour(patch: Patch) -> None:
    whole = context.checkerboard
    patch.setattr(context, "checkerboard", lambda *arguments: whole(*arguments)[::-1])


def taps_at_even_distance(patch: Patch) -> None:
    """The convolution over the anchors sees its centre instead of its neighbours."""
    patch.setattr(context, "_LIVE", [(dy, dx) for dy in range(5) for dx in range(5) if (dy + dx) % 2 == 0])


def steeper_leaky_relu(patch: Patch) -> None:
    """One slope a hundredth larger."""
    whole = F.leaky_relu
    patch.setattr(F, "leaky_relu", lambda x, slope=0.01, inplace=False: whole(x, slope * 1.01))


def no_epsilon_in_gdn(patch: Patch) -> None:
    patch.setattr(gdn, "EPSILON", 0.0)


def floor_after_the_square_in_gdn(patch: Patch) -> None:
    patch.setattr(gdn, "lower_bound", lambda x, bound: x.square().clamp_min(bound**2).sqrt())


def conditions_resampled(patch: Patch) -> None:
    """Condition maps are picked at the nearest position instead of averaged."""
    patch.setattr(modulation, "pooled", lambda condition, x: F.interpolate(condition, x.shape[2:], mode="nearest"))


def linear_between_gains(patch: Patch) -> None:
    def between(vectors: torch.Tensor, rate: torch.Tensor) -> torch.Tensor:
        position = rate * (len(vectors) - 1)
        level = position.floor().clamp(max=len(vectors) - 2).long()
        return torch.lerp(vectors[level].abs(), vectors[level + 1].abs(), (position - level)[:, None])

    patch.setattr(gain_units, "interpolate", between)


def signed_gains(patch: Patch) -> None:
    whole = gain_units.interpolate
    patch.setattr(gain_units, "interpolate", lambda vectors, rate: whole(vectors, rate) * vectors[0].sign())


def features_with_pi(patch: Patch) -> None:
    whole = beta.beta_features
    patch.setattr(beta, "beta_features", lambda values: whole(values * torch.pi))
