"""Figures of a run: accumulated on the device, read every so many steps, and put into a line for people."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from promptcodec.train.losses.objective import BANDS
from promptcodec.train.run.distributed import World


class Meter:
    """Sums of what ``Objective`` returns; reading them is the only time that a run waits for its device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.reset()

    def reset(self) -> None:
        """Start over."""
        self._sums = torch.zeros(4 + 3 * BANDS, device=self.device)
        self._norm = torch.zeros((), device=self.device)
        self._steps = 0

    def add(self, sums: Tensor, norm: Tensor) -> None:
        """Take up a step."""
        self._sums += sums
        self._norm += norm
        self._steps += 1

    def read(self, world: World) -> dict[str, Any]:
        """Return the means since the last reading, over all processes.

        Loss, bpp, mse, norm, and ``rd``, (bpp, PSNR) by band.
        """
        sums = world.total(self._sums).tolist()
        norm = self._norm.item() / max(self._steps, 1)
        self.reset()
        count, bands = max(sums[0], 1.0), [sums[4 + 3 * i : 7 + 3 * i] for i in range(BANDS)]
        row: dict[str, Any] = {"loss": sums[1] / count, "bpp": sums[2] / count, "mse": sums[3] / count, "norm": norm}
        row = {key: round(value, 6) for key, value in row.items()}
        return row | {"rd": [[round(bpp / n, 4), round(psnr / n, 3)] for n, bpp, psnr in bands if n]}


def flops_per_sample(
    objective: nn.Module, patch: int, device: torch.device, controls: dict[str, Tensor] | None = None
) -> int:
    """Return the floating-point operations of one crop, forward and backward, by torch's own counter.

    ``controls``: what the objective of an adapter asks for beyond picture and rate.
    """
    x = torch.rand(1, 3, patch, patch, device=device).contiguous(memory_format=torch.channels_last)
    more = () if controls is None else (controls,)
    with FlopCounterMode(display=False) as counter:
        objective(x, torch.full((1,), 0.5, device=device), *more)[0].backward()
    for parameter in objective.parameters():
        parameter.grad = None
    return int(counter.get_total_flops())


def line(row: dict[str, Any]) -> str:
    """Return one line for people."""
    curve = " · ".join(f"{bpp:.3f} bpp {psnr:.2f} dB" for bpp, psnr in row["rd"])
    return (
        f"{row['samples']:>11,} samples  loss {row['loss']:.4f}  {curve}  "
        f"{row['samples_per_second']:,.1f} crops/s  {row['tflops']:.3g} TFLOP/s"
    )
