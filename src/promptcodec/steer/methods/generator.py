"""Prompts generated from a map by a pyramid of convolutions (Kao et al. 2023; papers 000, 002 and 003).

The trunk mirrors the resampling layers of the transform that is steered, so that its features have the resolution and
width of each stage; one strided convolution a block makes that block's prompts. No activations.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from promptcodec.errors import UsageError
from promptcodec.model import config
from promptcodec.model.layers.transforms import resample
from promptcodec.model.steering import BlockSteer, Prompt, Site, Steering, TransformName
from promptcodec.steer.sites import SiteInfo, StageInfo, stages, stages_with_tokens, transform_config


class PromptPyramid(nn.Module):
    """Prompt maps for the blocks of the stages of ``transform`` that take them, or of those with these ``indices``.

    ``extra``: channels of the input beyond the transform's own. ``first`` replaces the trunk's first step.
    ``prompts``: how many a window gets (a square). In the stages ``carry`` only the first block gets generated prompts,
    which are updated and handed on. ``pooled`` averages each map into one set of ``prompts`` tokens for all windows.
    ``start``: the stage that the trunk begins at; the input is then what the stage before it gave. Without ``layers`` a
    max-pool takes the place of the convolution a block (paper 001). Nothing is computed beyond the last prompted stage.
    """

    def __init__(
        self,
        base: config.Model,
        transform: TransformName,
        extra: int = 0,
        indices: Sequence[int] | None = None,
        first: nn.Module | None = None,
        prompts: int = 16,
        carry: Sequence[int] = (),
        pooled: bool = False,
        layers: bool = True,
        compat_mask: bool = False,
        start: int = 0,
    ) -> None:
        super().__init__()
        self.start, self.from_latent = start, transform == "g_s" and not start
        self.prompted = {stage.index: stage for stage in stages_with_tokens(base, transform, indices)}
        self.carry, self.pooled, self.compat_mask = frozenset(carry), pooled, compat_mask
        self.side, self.strides = math.isqrt(prompts), {}
        self.heads, self.trunk = nn.ModuleDict(), nn.ModuleList()
        known = stages(base, transform)
        channels = known[start - 1].channels if start else transform_config(base, transform).in_channels + extra
        for stage in known[start : max(self.prompted) + 1]:
            self.trunk.append(first if first is not None and stage.index == 0 else step_to(stage, channels))
            channels = stage.channels
            if stage.index in self.prompted:
                stride = self.strides[stage.index] = _stride(prompts, stage.blocks[0])
                blocks = self.steered(stage)
                heads = [
                    nn.Conv2d(channels, channels, 3, stride, 1) if layers else nn.MaxPool2d(stride, ceil_mode=True)
                    for _ in blocks
                ]
                self.heads[str(stage.index)] = nn.ModuleList(heads)

    def forward(self, x: Tensor) -> Steering:
        """Make prompts of x (B, C, H, W), the transform's input with what stands beside it, or with ``start`` a stage's
        output.
        """
        sites: dict[Site, BlockSteer] = {}
        for index, step in enumerate(self.trunk, self.start):
            x = step(x)
            if index in self.prompted:
                heads = self.heads[str(index)]
                assert isinstance(heads, nn.ModuleList)
                for info, head in zip(self.steered(self.prompted[index]), heads, strict=True):
                    sites[info.site] = BlockSteer((self._prompt(head(x), index),))
        return Steering(sites)

    @torch.no_grad()
    def start_neutral(self) -> None:
        """Set prompts of zeros where a convolution makes them, else of almost zero: such tokens barely change
        attention.

        With default weights prompts from ŷ, whose values reach tens, outweigh the image's own tokens from the start. A
        trunk of ŷ begins a tenth as large, so that an optimiser's steps move its prompts as far as those of pixels.
        """
        convolutions = [m for m in self.heads.modules() if isinstance(m, nn.Conv2d)]
        for head in convolutions:
            head.weight.zero_()
            if head.bias is not None:
                head.bias.zero_()
        if self.from_latent:
            kinds = (nn.Conv2d, nn.ConvTranspose2d)
            next(m for m in self.trunk.modules() if isinstance(m, kinds)).weight.mul_(0.1)
        if not convolutions:  # max-pools: the whole chain is made of small numbers instead
            last = [m for m in self.trunk[0].modules() if isinstance(m, nn.Conv2d)][-1]
            last.weight.mul_(0.01)

    def steered(self, stage: StageInfo) -> tuple[SiteInfo, ...]:
        """Return the blocks of a prompted stage that get prompts."""
        return stage.blocks[:1] if stage.index in self.carry else stage.blocks

    def _prompt(self, tokens: Tensor, index: int) -> Prompt:
        if self.pooled:
            tokens = nn.functional.adaptive_avg_pool2d(tokens, self.side).flatten(2).transpose(1, 2)
        return Prompt(tokens, self.strides[index], index in self.carry, self.compat_mask)


def step_to(stage: StageInfo, channels: int) -> nn.Module:
    """Build layers that take ``channels`` features of the stage before to this one's resolution and width."""
    if not stage.before:  # a synthesis begins with a stage: its input only has to be brought to its width
        return nn.Conv2d(channels, stage.channels, 3, padding=1)
    layers = []
    for layer in stage.before:
        trainable = dataclasses.replace(layer, zero_init=False) if isinstance(layer, config.Resample) else layer
        layers.append(resample(channels, trainable))
        channels = layer.channels
    return nn.Sequential(*layers) if len(layers) > 1 else layers[0]


def _stride(prompts: int, block: SiteInfo) -> int:
    """Return the tokens a side that one prompt of a map stands for.

    Raises UsageError where windows do not divide so.
    """
    side = math.isqrt(prompts)
    if prompts < 1 or side * side != prompts or block.window % side or (block.window // 2) % (block.window // side):
        raise UsageError(
            f"{prompts} generated prompts do not divide the windows of {block.window} x {block.window} tokens of "
            f"{block.site}, half shifted; try {(block.window // 2) ** 2}"
        )
    return block.window // side
