"""Proximal search: better integers for the latents of one picture, by one pass forward and backward a step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from promptcodec.model.inference.latent_cost import LatentCost, Quantised, symbol_bits

Report = Callable[[], None]  # is called as each step is done

_SHARE = 0.3  # of the elements that may move in a step: those that overlap seldom move at once
_NEIGHBOURHOOD = 5  # places along a side over which a step is judged: about as far as a move is seen
_CAUTION = 1.15  # times the curvature as first estimated, which knows nothing of elements that move together
_REJECTED, _ACCEPTED = 2.0, 0.8  # factors of a place's damping after a step there
_MOST_DAMPING = 64.0
_RENEWED = 0.5  # weight of a step's own curvature in the running estimate
_ENOUGH = 4.0  # squared moves of a channel in a step that say something of its curvature


@dataclass(frozen=True)
class ProximalSearch:
    """Steps of a proximal gradient method over the symbols.

    A step models the price of the error around ŷ as separable, with the gradient and a curvature for each channel, and
    takes for a random part of the elements the best neighbour under that model and the bits that it takes: one up, one
    down, or towards zero. What it did is judged in every neighbourhood by the true cost: where that rose, the symbols
    go back and the place is damped. Means and scales hold within a step; where they depend on ŷ, they follow it
    between steps. z stays. The cheapest latents that were evaluated as a whole are returned, so more steps are
    never worse. Draws are the same in every run.
    """

    steps: int

    def __call__(self, cost: LatentCost, y: Tensor, z: Tensor, report: Report = lambda: None) -> Quantised:
        """Start from the rounded y and z (gained)."""
        device = y.device
        generator = torch.Generator(device).manual_seed(0)
        now = cost.quantise(y, z)
        signs = 2.0 * torch.randint(0, 2, cost.shape, generator=generator, device=device).float() - 1
        error, gradient, curvature = cost.gradient(now, signs)
        assert curvature is not None
        curvature = _CAUTION * curvature.clamp_min(torch.finfo(curvature.dtype).tiny)
        damping = torch.ones_like(error)
        spent = error + now.bits()
        best, least = now, float(spent.sum())
        report()
        for _ in range(self.steps):
            chosen = _neighbours(now, gradient, curvature * damping)
            if cost.keep is not None:
                chosen = torch.where(cost.keep, chosen, now.symbols)
            drawn = torch.rand(chosen.shape, generator=generator, dtype=torch.float32, device=device) < _SHARE
            moved = torch.where(drawn, chosen, now.symbols)
            following = cost.quantise(moved + now.mean, now.z)
            error, following_gradient, _ = cost.gradient(following)
            following_spent = error + following.bits()
            if (total := float(following_spent.sum())) < least:
                best, least = following, total
            rise = _around(following_spent - spent)
            touched = _around((following.symbols != now.symbols).any(1, keepdim=True).to(rise)) > 0
            rejected, accepted = touched & (rise > 0), touched & (rise <= 0)
            step = (following.y - now.y) * ~rejected
            curvature = _renewed(curvature, step, following_gradient - gradient)
            damping = torch.where(rejected, damping * _REJECTED, damping)
            damping = torch.where(accepted, damping * _ACCEPTED, damping).clamp(1.0, _MOST_DAMPING)
            now = _mixed(rejected, now, following)
            gradient = torch.where(rejected, gradient, following_gradient)
            spent = torch.where(rejected, spent, following_spent)
            report()
        return best


def _neighbours(now: Quantised, gradient: Tensor, curvature: Tensor) -> Tensor:
    """Return for every symbol the best of itself, the two beside it and what lies between it and its target, zero
    included.
    """
    target = now.symbols - gradient / (2 * curvature)
    best, least = now.symbols, curvature * (target - now.symbols).square() + symbol_bits(now.symbols, now.scale)
    low = target.floor().clamp(now.symbols - 1, now.symbols + 1)
    high = (low + 1).clamp(now.symbols - 1, now.symbols + 1)
    zero = torch.zeros_like(low).clamp(now.symbols - 1, now.symbols + 1)
    for candidate in (low, high, zero):
        price = curvature * (target - candidate).square() + symbol_bits(candidate, now.scale)
        better = price < least
        best, least = torch.where(better, candidate, best), torch.where(better, price, least)
    return best


def _renewed(curvature: Tensor, step: Tensor, change: Tensor) -> Tensor:
    """Mix channels' curvature as a step found it into the running estimate; it at most halves in a step."""
    squared = step.square().sum((0, 2, 3), keepdim=True)
    measured = (step * change).sum((0, 2, 3), keepdim=True) / (2 * squared.clamp_min(_ENOUGH))
    mixed = torch.maximum(torch.lerp(curvature, measured, _RENEWED), curvature / 2)
    return torch.where(squared > _ENOUGH, mixed, curvature)


def _around(plane: Tensor) -> Tensor:
    """Return the mean over the neighbourhood of every place, (1, 1, h, w)."""
    return F.avg_pool2d(plane, _NEIGHBOURHOOD, 1, _NEIGHBOURHOOD // 2, count_include_pad=False)


def _mixed(before: Tensor, one: Quantised, other: Quantised) -> Quantised:
    """Return ``one`` at the places ``before``, elsewhere ``other``."""
    symbols = torch.where(before, one.symbols, other.symbols)
    mean, scale = torch.where(before, one.mean, other.mean), torch.where(before, one.scale, other.scale)
    return Quantised(symbols, mean, scale, one.z, one.z_bits)
