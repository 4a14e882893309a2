"""Song et al. (ICCV 2021): a map of the wanted quality steers a CNN codec by spatial feature transforms."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from promptcodec.errors import UsageError
from promptcodec.model import config
from promptcodec.model.steering import BlockSteer, Conditioned, Decoded, Output, Steering, TransformName
from promptcodec.steer.adapter import Adapter
from promptcodec.steer.controls import Controls
from promptcodec.steer.methods.modulation import ConditionSteps, SFTLayer, SFTResidual, with_planes
from promptcodec.steer.sites import stages


class QualityMap(Adapter, kind="quality-map"):
    """Their conditioning, apart from the codec that it was trained with (``presets.song``).

    The map ``quality`` is seen by the encoder alone; the decoder half takes its conditions from ẑ and ŷ. Transforms act
    at every site, two residual blocks of them where a transform is coarsest. With their base 27,574,979 parameters at
    full size. Trained jointly with it, for λ = 0.001 exp(4.382 quality).
    """

    maps = ("quality",)

    def __init__(self, base: config.Model, name: str = "", *, condition: int = 64, hidden: int = 128) -> None:
        super().__init__(base, name, condition=condition, hidden=hidden)
        if len(stages(base, "h_a")) != 3 or len(stages(base, "g_s")) != 5:
            raise UsageError(f"quality maps steer the codec of Song et al. (preset song), not {base.name}")
        latent = base.latent_channels
        self.analysis = ConditionSteps(4, (1, 2, 2, 2, 2), condition=condition)
        self.hyper = ConditionSteps(latent + 1, (1, 2, 2), condition=condition)
        half, quarter = latent // 2, latent // 4
        self.from_z = nn.Sequential(
            nn.ConvTranspose2d(latent, half, 3, 2, 1, 1), nn.LeakyReLU(0.1),
            nn.ConvTranspose2d(half, quarter, 5, 2, 2, 1), nn.LeakyReLU(0.1), nn.Conv2d(quarter, quarter, 3, padding=1),
        )  # fmt: skip
        self.synthesis = ConditionSteps(latent + quarter, (1, 2, 2, 2, 2), up=True, condition=condition)
        self.transforms = nn.ModuleDict({
            name: _transforms(base, name, coarsest, condition, hidden)
            for name, coarsest in (("g_a", 4), ("h_a", 2), ("g_s", 0))
        })  # fmt: skip

    def for_encoder(self, x: Tensor, controls: Controls) -> Steering:
        """Return the transforms in g_a, from [quality, picture]."""
        return self._steering("g_a", self.analysis(with_planes(x, [controls.map("quality")])))

    def for_hyper(self, y: Tensor, controls: Controls) -> Steering:
        """Return the transforms in h_a, from [quality, y]."""
        return self._steering("h_a", self.hyper(with_planes(y, [controls.map("quality")])))

    def for_decoder(self, decoded: Decoded, signalled: Controls) -> Steering:
        """Return the transforms in g_s, from [features of ẑ, ŷ]."""
        if decoded.y is None:
            return Steering()
        return self._steering("g_s", self.synthesis(torch.cat([self.from_z(decoded.z), decoded.y], dim=1)))

    def _steering(self, transform: TransformName, conditions: Sequence[Tensor]) -> Steering:
        layers = self.transforms[transform]
        assert isinstance(layers, nn.ModuleList)
        sites = {}
        for stage, group, condition in zip(stages(self.base, transform), layers, conditions, strict=True):
            assert isinstance(group, nn.ModuleList)
            outputs: tuple[Output, ...] = tuple(Conditioned(layer, condition) for layer in group)
            sites[stage.output] = BlockSteer(outputs=outputs)
        return Steering(sites)


def quality_to_lambda(quality: Tensor) -> Tensor:
    """Return their map's meaning, for any shape: 0.001 in λ at 0, 0.08 at 1."""
    return 0.001 * torch.exp(4.382 * quality)


def _transforms(base: config.Model, name: str, coarsest: int, condition: int, hidden: int) -> nn.ModuleList:
    transform: TransformName = "g_a" if name == "g_a" else "h_a" if name == "h_a" else "g_s"
    groups = []
    for stage in stages(base, transform):
        size = (stage.channels, condition, hidden)
        last = stage.index == coarsest
        groups.append(nn.ModuleList([SFTResidual(*size), SFTResidual(*size)] if last else [SFTLayer(*size)]))
    return nn.ModuleList(groups)
