"""Whether bfloat16 pays on a device: asked of the machine, not of a list of machines."""

from __future__ import annotations

import time
from functools import cache
from typing import Literal

import torch

Precision = Literal["auto", "bfloat16", "float32"]
PRECISIONS: tuple[Precision, ...] = ("auto", "bfloat16", "float32")

PAYS = 1.3  # times as fast; below it the conversions eat the gain


def autocast_pays(precision: Precision, device: torch.device) -> tuple[bool, str]:
    """Return whether to run under bfloat16 autocast, and why, for people to read."""
    if precision != "auto":
        return precision == "bfloat16", f"{precision}, as asked for"
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
        return fast, "bfloat16" if fast else "float32: this GPU has no bfloat16"
    if device.type != "cpu":
        return False, f"float32: bfloat16 is not tried on {device.type}"
    factor = cpu_speedup()
    if factor >= PAYS:
        return True, f"bfloat16: {factor:.1f} times as fast as float32 here"
    return False, f"float32: bfloat16 runs at {factor:.2g} times its speed on this CPU"


@cache
def cpu_speedup() -> float:
    """Return the speed of a bfloat16 matrix product on this CPU over that of the same product in float32."""
    a, b = (torch.ones(size, dtype=torch.float32, device="cpu") for size in ((1024, 256), (256, 512)))
    slow = _seconds(a.bfloat16(), b.bfloat16(), repeats=1)
    quick = _seconds(a, b, repeats=5)
    if slow > 10 * quick:  # emulated: not worth five more
        return quick / slow
    return quick / min(slow, _seconds(a.bfloat16(), b.bfloat16(), repeats=5))


@torch.no_grad()
def _seconds(a: torch.Tensor, b: torch.Tensor, repeats: int) -> float:
    times = []
    for _ in range(repeats + 1):  # the first one builds the kernel
        start = time.perf_counter()
        torch.mm(a, b)
        times.append(time.perf_counter() - start)
    return min(times[1:])
