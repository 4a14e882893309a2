"""Prompts generated from features inside the transform that they steer (paper 002, A3.2: "IP-type" in the decoder)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn

from promptcodec.errors import UsageError
from promptcodec.model import config
from promptcodec.model.steering import BlockSteer, DeferredPrompt, Prompt, Site, Steering, TransformName
from promptcodec.steer.methods.generator import PromptPyramid
from promptcodec.steer.sites import stages, stages_with_tokens


class FeaturePrompts(nn.Module):
    """A ``PromptPyramid`` for the stages ``indices`` that reads what the stage before the first of them gives.

    Raises UsageError where the first of them is the transform's first stage: nothing was computed before it.
    """

    def __init__(
        self,
        base: config.Model,
        transform: TransformName,
        indices: Sequence[int],
        prompts: int = 16,
        pooled: bool = False,
        compat_mask: bool = False,
    ) -> None:
        super().__init__()
        first = min(stage.index for stage in stages_with_tokens(base, transform, indices))
        if first == 0:
            raise UsageError(
                f"prompts of {transform} of {base.name} cannot be made of features before stage 0: there are none; "
                "choose later stages, or use tokens"
            )
        self.source = stages(base, transform)[first - 1].output
        self.pyramid = PromptPyramid(
            base, transform, indices=indices, prompts=prompts, pooled=pooled, compat_mask=compat_mask, start=first
        )

    def forward(self) -> Steering:
        """Return the steering for one pass."""
        generated: dict[Site, BlockSteer] = {}

        def look(x: Tensor) -> Tensor:
            generated.update(self.pyramid(x).sites)
            return x

        def prompt(site: Site) -> Prompt:
            return generated[site].prompts[0].resolve()

        sites = {self.source: BlockSteer(outputs=(look,))}
        for stage in self.pyramid.prompted.values():
            for info in self.pyramid.steered(stage):
                sites[info.site] = BlockSteer((DeferredPrompt(partial(prompt, info.site), info.channels),))
        return Steering(sites)
