"""Whether bfloat16 pays on a device: asked of the machine, not of a list of machines."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cache, reduce
from typing import Any, Literal

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


class _Held:
    """Settings of float32 products that are kept at full precision while anybody needs it.

    They are the whole process': other threads get them too meanwhile. The first who comes remembers what was set, the
    last who goes puts it back, unless the program has set something else since.
    """

    def __init__(self, names: tuple[str, ...], legacy: bool) -> None:
        """Take ``names``: of settings under ``torch.backends``; ``legacy``: ``set_float32_matmul_precision`` too."""
        self._names, self._legacy = names, legacy
        self._count = 0
        self._changed: dict[str, str] = {}
        self._before = "highest"
        self._lock = threading.Lock()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._begin_anew)

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            self._count += 1
            if self._count == 1:
                self._raise()
        try:
            yield
        finally:
            with self._lock:
                self._count -= 1
                if self._count == 0:
                    self._put_back()

    def _begin_anew(self) -> None:
        """Begin anew in a forked process, where nobody is left who would give the lock back.

        The forking thread may hold on.
        """
        self._lock = threading.Lock()

    def _raise(self) -> None:
        self._changed, self._before = {}, _legacy_precision() if self._legacy else "highest"
        if self._before != "highest":
            torch.set_float32_matmul_precision("highest")
        for name in self._names:
            setting = _backend(name)
            if setting.fp32_precision in _REDUCED:
                self._changed[name], setting.fp32_precision = setting.fp32_precision, "ieee"

    def _put_back(self) -> None:
        for name, precision in self._changed.items():
            setting = _backend(name)
            if setting.fp32_precision == "ieee":
                setting.fp32_precision = precision
        if self._before != "highest" and _legacy_precision() == "highest":
            torch.set_float32_matmul_precision(self._before)


_REDUCED = ("tf32", "bf16")


def _backend(name: str) -> Any:
    return reduce(getattr, name.split("."), torch.backends)


def _legacy_precision() -> str:
    """Return the that of ``set_float32_matmul_precision``; "highest" where only the newer settings were used, which it
    refuses.
    """
    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:
        return "highest"


full_products = _Held(("mkldnn.matmul", "mkldnn.conv", "cuda.matmul"), legacy=True)
"""Float32 matrix products, and convolutions on the CPU, as torch has them by default: of float32, not of TF32 or
bfloat16 in its place, which a process may have allowed."""

_full_convolutions = _Held(("cudnn.conv",), legacy=False)  # TF32 is their default


@contextmanager
def true_float32(device: torch.device) -> Iterator[None]:
    """Make all float32 products inside products of float32: no autocast, and neither TF32 nor bfloat16 instead."""
    convolutions = _full_convolutions() if device.type == "cuda" else nullcontext()
    with full_products(), convolutions, torch.autocast(device.type, enabled=False):
        yield


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
