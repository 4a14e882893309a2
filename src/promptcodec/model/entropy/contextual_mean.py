"""Means in four steps over a 2x2 grid, from features of z and from what is decoded so far.

Scales are none of its business: they come from z at once (``CompressionModel.log_scales``), so that an error in a mean
moves a pixel and never a table. The split of scales and means is that of JPEG AI and of DCVC-UF (2026).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from promptcodec.model import config
from promptcodec.model.entropy.prior import SCALE_FLOOR
from promptcodec.model.entropy.schedule import MeanSchedule, MeanStep, Where
from promptcodec.model.layers.mixers import depthwise
from promptcodec.model.layers.pointwise import PairedFeedForward
from promptcodec.model.layers.transforms import Transform, depth, full_precision
from promptcodec.model.steering import BlockSteer, TransformSteer

GRID: tuple[tuple[int, int], ...] = ((0, 0), (1, 1), (0, 1), (1, 0))  # row and column of a step's first element
LARGEST_RESIDUAL = 16.0  # standard deviations that the network gets to see


class ContextualMean(nn.Module):
    """Features and mean network. Its site for steering follows the stages of ``features``: one block."""

    def __init__(self, cfg: config.ContextualMean, latent_channels: int) -> None:
        super().__init__()
        width = cfg.features.out_channels
        self.features = Transform(cfg.features, iter([0.0] * depth(cfg.features)))
        self.stages = sum(isinstance(layer, config.Stage) for layer in cfg.features.layers)
        self.first = nn.Conv2d(width, latent_channels, 1)
        self.of_features = nn.Conv2d(width, cfg.hidden, 1)
        self.of_scales = nn.Conv2d(latent_channels, cfg.hidden, 1, bias=False)
        self.of_residuals = nn.Conv2d(latent_channels, cfg.hidden, 1)
        self.around = nn.ModuleList(
            nn.Conv2d(cfg.hidden, cfg.hidden, cfg.kernel, padding=cfg.kernel // 2, groups=cfg.hidden) for _ in GRID[1:]
        )
        self.norm = nn.LayerNorm(cfg.hidden)
        self.ffn = PairedFeedForward(cfg.hidden, cfg.ffn_ratio, gated=True)
        self.out = nn.Conv2d(cfg.hidden, latent_channels, 1)
        for layer in (self.first, self.out, self.of_scales):
            nn.init.zeros_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def steps(
        self, z: Tensor, log_scale: Tensor, gain: Tensor | float, steer: TransformSteer | None = None
    ) -> MeanSchedule:
        """Yield the steps for z (B, N, h/64, w/64) without gain; ``log_scale`` (B, M, h/16, w/16) is that of the gained
        latent.

        Means and the latent that it is sent are gained. A mean is a first one, from features alone, plus as many
        standard deviations as the network says. Rows and columns are of one tile: nothing beyond its border is seen.
        No gradient of a mean reaches the scales, which it would blow up where they are small.
        """
        log_scale = log_scale.detach()
        features = self.features(z, steer)
        with full_precision(features.device):  # large values, of which bfloat16 keeps three digits
            first = self.first(_float(features)) * gain
            deviation = log_scale.exp().clamp_min(SCALE_FLOOR)
        hidden = self.of_features(features) + self.of_scales(log_scale)
        block = steer.get((self.stages, 0)) if steer else None
        context = torch.zeros_like(hidden)
        for i, (row, column) in enumerate(GRID):
            where: Where = (slice(None), slice(None), slice(row, None, 2), slice(column, None, 2))
            tokens = hidden[where]
            if i:
                around = self.around[i - 1]
                assert isinstance(around, nn.Conv2d)
                tokens = tokens + depthwise(around, context)[where]
            correction = self.out(self._mixed(tokens, where, block, hidden))
            with full_precision(features.device):
                mean = first[where] + deviation[where] * _float(correction)
            y_hat = yield MeanStep(where, mean)
            if i + 1 < len(GRID):
                seen = (y_hat[where] - first[where]) / deviation[where]
                # Without gradients a copy is for nothing; with them, earlier steps' need what they saw.
                context = context.clone() if torch.is_grad_enabled() else context
                context[where] = self.of_residuals(seen.clamp(-LARGEST_RESIDUAL, LARGEST_RESIDUAL)).to(context.dtype)

    def _mixed(self, tokens: Tensor, where: Where, block: BlockSteer | None, like: Tensor) -> Tensor:
        """Return the feed-forward half and its steering; its functions see a whole map, zero outside of this step."""
        tokens = tokens.permute(0, 2, 3, 1)
        tokens = (tokens + self.ffn(self.norm(tokens))).permute(0, 3, 1, 2)
        if block is None or not block.outputs:
            return tokens
        whole = torch.zeros_like(like, dtype=tokens.dtype)
        whole[where] = tokens
        return block.finish(whole)[where]


def _float(x: Tensor) -> Tensor:
    return x.float() if x.dtype == torch.bfloat16 else x
