"""Learned prompt tokens, the same in every window of a layer (paper 002, "TP-type")."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from promptcodec.model import config
from promptcodec.model.steering import BlockSteer, Prompt, Steering, TransformName
from promptcodec.steer.sites import stages_with_tokens


class SharedTokens(nn.Module):
    """``prompts`` tokens for every block of the stages of ``transform`` that take them, or of those at ``indices``.

    In the stages ``carry`` only the first block has tokens, which are updated and handed on ("shallow").
    """

    def __init__(
        self,
        base: config.Model,
        transform: TransformName,
        indices: Sequence[int] | None = None,
        prompts: int = 16,
        carry: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.prompted = {stage.index: stage for stage in stages_with_tokens(base, transform, indices)}
        self.carry = frozenset(carry)
        self.tokens = nn.ParameterDict()
        for index, stage in self.prompted.items():
            bound = math.sqrt(6 / (3 + stage.channels))  # of the code of paper 002
            depth = 1 if index in self.carry else len(stage.blocks)
            tokens = torch.empty(depth, prompts, stage.channels).uniform_(-bound, bound)
            self.tokens[str(index)] = nn.Parameter(tokens)

    @torch.no_grad()
    def start_neutral(self) -> None:
        """Set tokens of almost zero: of exactly zero, all of a set would stay alike."""
        for tokens in self.tokens.values():
            tokens.mul_(0.1)

    def forward(self) -> Steering:
        """Return the tokens at their sites."""
        sites = {}
        for index, stage in self.prompted.items():
            for info, tokens in zip(stage.blocks, self.tokens[str(index)], strict=False):
                sites[info.site] = BlockSteer((Prompt(tokens, carry=index in self.carry),))
        return Steering(sites)
