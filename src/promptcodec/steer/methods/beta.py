"""Beta conditioning (Agustsson et al. 2023): a scalar, as sines and cosines, shifts the channels of every block."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from promptcodec.model import config
from promptcodec.model.steering import Affine, BlockSteer, Decoded, Site, Steering, TransformName
from promptcodec.steer.adapter import TwoHalves
from promptcodec.steer.controls import Controls
from promptcodec.steer.sites import stages

FREQUENCIES = 10


class BetaEmbedding(nn.Module):
    """A scalar in [0, 1], (B,), to a condition (B, hidden)."""

    def __init__(self, hidden: int = 512) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(2 * FREQUENCIES, hidden), nn.ReLU(), nn.Linear(hidden, hidden))

    def forward(self, value: Tensor) -> Tensor:
        """Return two linear layers of the features."""
        return self.mlp(beta_features(value))  # type: ignore[no-any-return]


def beta_features(value: Tensor) -> Tensor:
    """Return (B,) in [0, 1] to (B, 20): sines, then cosines, of 2 value - 1 times 1, 2, 4 … 512 (no pi in it)."""
    powers = 2.0 ** torch.arange(FREQUENCIES, dtype=value.dtype, device=value.device)
    angles = (2 * value[:, None] - 1) * powers
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class Beta(TwoHalves, kind="beta"):
    """A projection for every block of g_a and g_s, added to its output channel by channel (paper 000's baseline)."""

    encoder: _Shifts | None
    decoder: _Shifts | None

    def __init__(
        self,
        base: config.Model,
        name: str = "",
        *,
        scalar: str = "look",
        encoder: bool = True,
        decoder: bool = True,
        hidden: int = 512,
    ) -> None:
        super().__init__(base, name, scalar=scalar, encoder=encoder, decoder=decoder, hidden=hidden)
        self.scalar = scalar
        self.scalars = (scalar,)
        self.signals = (scalar,) if decoder else ()
        self.embedding = BetaEmbedding(hidden)
        self.encoder: _Shifts | None = _Shifts(base, "g_a", hidden) if encoder else None
        self.decoder: _Shifts | None = _Shifts(base, "g_s", hidden) if decoder else None

    @torch.no_grad()
    def start_neutral(self) -> None:
        """Set no shifts."""
        for half in (self.encoder, self.decoder):
            for projection in half.projections if half is not None else ():
                for parameter in projection.parameters():
                    parameter.zero_()

    def for_encoder(self, x: Tensor, controls: Controls) -> Steering:
        """Return the shifts in g_a."""
        return self._shifted(self.encoder, controls)

    def for_decoder(self, decoded: Decoded, signalled: Controls) -> Steering:
        """Return the shifts in g_s."""
        return self._shifted(self.decoder, signalled)

    def _shifted(self, half: _Shifts | None, controls: Controls) -> Steering:
        if half is None:
            return Steering()
        value = controls.scalar(self.scalar).to(next(self.embedding.parameters()))
        return half(self.embedding(value))  # type: ignore[no-any-return]


class _Shifts(nn.Module):
    """One projection of the condition a block."""

    def __init__(self, base: config.Model, transform: TransformName, hidden: int) -> None:
        super().__init__()
        blocks = [block for stage in stages(base, transform) for block in stage.blocks]
        self.sites: list[Site] = [block.site for block in blocks]
        self.projections = nn.ModuleList(nn.Linear(hidden, block.channels) for block in blocks)

    def forward(self, condition: Tensor) -> Steering:
        shifts = [projection(condition)[:, :, None, None] for projection in self.projections]
        return Steering({s: BlockSteer(outputs=(Affine(shift=v),)) for s, v in zip(self.sites, shifts, strict=True)})
