"""Steering by spatial feature transforms at every stage's output (Song et al. 2021; TIC+SFT of papers 000 and 002)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from promptcodec.model import config
from promptcodec.model.steering import BlockSteer, Conditioned, Decoded, Steering, TransformName
from promptcodec.steer.adapter import Adapter
from promptcodec.steer.controls import Controls, plane
from promptcodec.steer.methods.modulation import ConditionSteps, SFTLayer, SFTResidual, with_planes
from promptcodec.steer.sites import StageInfo, stages, transform_config


class SFT(Adapter, kind="sft"):
    """Conditions: scalars and maps beside the picture for g_a, beside y for h_a, scalars beside ŷ for g_s.

    ``hyper`` False leaves h_a out: the sites that paper 000 names are the outputs of all Swin blocks, our stages, of
    analysis and synthesis.
    ``residual`` takes residual blocks of two transforms each instead of single ones (published totals fit them).
    With no scalars and maps, TIC+SFT of paper 002: 8.30 million parameters in the encoder, 5.73 in the decoder.
    """

    def __init__(
        self,
        base: config.Model,
        name: str = "",
        *,
        scalars: Sequence[str] = (),
        maps: Sequence[str] = (),
        encoder: bool = True,
        decoder: bool = True,
        hyper: bool = True,
        residual: bool = True,
    ) -> None:
        options = {} if hyper else {"hyper": False}  # files and runs from before have no such option
        super().__init__(
            base, name, scalars=list(scalars), maps=list(maps), encoder=encoder, decoder=decoder, residual=residual,
            **options,
        )  # fmt: skip
        self.scalars, self.maps = tuple(scalars), tuple(maps)
        self.signals = self.scalars if decoder else ()
        planes = len(self.scalars) + len(self.maps)
        self.analysis = _Half(base, "g_a", planes, residual) if encoder else None
        self.hyper = _Half(base, "h_a", planes, residual) if encoder and hyper else None
        self.synthesis = _Half(base, "g_s", len(self.scalars), residual) if decoder else None

    @torch.no_grad()
    def start_neutral(self) -> None:
        """Set transforms that leave everything as it is."""
        for half in (self.analysis, self.hyper, self.synthesis):
            for layer in half.layers if half is not None else ():
                assert isinstance(layer, (SFTResidual, SFTLayer))
                last = layer.conv[-1:] if isinstance(layer, SFTResidual) else (layer.scale, layer.shift)
                for parameter in (p for conv in last for p in conv.parameters()):
                    parameter.zero_()

    def for_encoder(self, x: Tensor, controls: Controls) -> Steering:
        """Return the transforms in g_a."""
        return self.analysis(x, self._planes(x, controls)) if self.analysis is not None else Steering()

    def for_hyper(self, y: Tensor, controls: Controls) -> Steering:
        """Return the transforms in h_a."""
        return self.hyper(y, self._planes(y, controls)) if self.hyper is not None else Steering()

    def for_decoder(self, decoded: Decoded, signalled: Controls) -> Steering:
        """Return the transforms in g_s."""
        if self.synthesis is None or decoded.y is None:
            return Steering()
        return self.synthesis(decoded.y, _scalars(self.scalars, decoded.y, signalled))  # type: ignore[no-any-return]

    def _planes(self, x: Tensor, controls: Controls) -> list[Tensor]:
        return _scalars(self.scalars, x, controls) + [controls.map(name) for name in self.maps]

    @property
    def decodes(self) -> bool:
        """Whether there is a decoder half."""
        return self.synthesis is not None

    @property
    def settable(self) -> tuple[str, ...]:
        """All scalars, where the encoder knows none of them."""
        return self.signals if self.analysis is None else ()


class _Half(nn.Module):
    """Condition nets and transforms for the stages of one transform."""

    def __init__(self, base: config.Model, transform: TransformName, planes: int, residual: bool) -> None:
        super().__init__()
        self.stages = stages(base, transform)
        channels = transform_config(base, transform).in_channels + planes
        self.condition = ConditionSteps(channels, tuple(map(_stride, self.stages)), up=transform in ("g_s", "h_s"))
        layer = SFTResidual if residual else SFTLayer
        self.layers = nn.ModuleList(layer(stage.channels) for stage in self.stages)

    def forward(self, x: Tensor, planes: list[Tensor]) -> Steering:
        conditions = self.condition(with_planes(x, planes))
        return Steering({
            stage.output: BlockSteer(outputs=(Conditioned(layer, condition),))
            for stage, layer, condition in zip(self.stages, self.layers, conditions, strict=True)
        })  # fmt: skip


def _stride(stage: StageInfo) -> int:
    return math.prod(layer.stride for layer in stage.before)


def _scalars(names: Sequence[str], like: Tensor, controls: Controls) -> list[Tensor]:
    return [plane(controls.scalar(name), like) for name in names]
