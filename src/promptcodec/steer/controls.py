"""What a user asks for: scalars and maps by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from promptcodec.errors import UsageError
from promptcodec.model.config import STRIDE
from promptcodec.model.layers.transforms import pad_to_multiple


@dataclass(frozen=True)
class Controls:
    """``scalars``: (B,) each, in [0, 1]; ``maps``: (B, 1, H, W) each, in [0, 1], of the picture's size or padded."""

    scalars: Mapping[str, Tensor] = field(default_factory=dict)
    maps: Mapping[str, Tensor] = field(default_factory=dict)

    def scalar(self, name: str) -> Tensor:
        """Return (B,). Raises UsageError where it was not given."""
        if name not in self.scalars:
            raise UsageError(f"the adapter needs a value for {name!r}; given are {_listed(self.scalars)}")
        return self.scalars[name]

    def map(self, name: str) -> Tensor:
        """Return (B, 1, H, W). Raises UsageError where it was not given."""
        if name not in self.maps:
            raise UsageError(f"the adapter needs a map {name!r}; given are {_listed(self.maps)}")
        return self.maps[name]

    def replaced(self, scalars: Mapping[str, Tensor]) -> Controls:
        """Return controls with some scalars replaced."""
        return replace(self, scalars={**self.scalars, **scalars})

    def within(self, rows: slice, columns: slice) -> Controls:
        """Return controls with the part of every map that lies in these rows and columns."""
        return replace(self, maps={k: v[..., rows, columns] for k, v in self.maps.items()})

    def padded(self) -> Controls:
        """Return controls with maps padded like the picture, by repeating their last row and column."""
        return replace(self, maps={k: pad_to_multiple(v, STRIDE) for k, v in self.maps.items()})


def plane(value: Tensor, like: Tensor) -> Tensor:
    """Return a map (B, 1, h, w) of a constant (B,), with the size, batch and type of ``like`` (B, C, h, w)."""
    return value.to(like)[:, None, None, None].expand(like.shape[0], 1, *like.shape[2:])


def constant(value: float) -> Tensor:
    """Return a scalar control for one picture, (1,)."""
    return torch.tensor([float(value)], dtype=torch.float32)


def _listed(tensors: Mapping[str, Tensor]) -> str:
    return ", ".join(tensors) or "none"
