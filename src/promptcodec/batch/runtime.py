"""What a process needs before it codes: allocator, threads, one loaded codec."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from promptcodec.bitstream.container import MAX_PIXELS
from promptcodec.system.allocator import keep_large_blocks
from promptcodec.system.interrupts import interrupts_blocked

if TYPE_CHECKING:
    from promptcodec.codec.codec import Codec
    from promptcodec.model.inference.precision import Precision


def prepare(threads: int) -> None:
    """Set up this process to code with ``threads`` threads (0: torch's own choice)."""
    keep_large_blocks()
    if threads:  # else torch is not imported before something has to be coded
        _import_torch()
        import torch

        torch.set_num_threads(threads)


@cache
def codec(model: str | None, device: str, precision: Precision = "float32") -> Codec:
    """Return the codec of this process with that model (None: the default one), loaded at first use."""
    from PIL import Image

    from promptcodec.api import load

    Image.MAX_IMAGE_PIXELS = MAX_PIXELS  # our own limit, rather than a warning at a third of it
    _import_torch()
    return load(model, device, precision)


def _import_torch() -> None:
    with interrupts_blocked():  # an exception inside its native start-up aborts the process
        import torch  # noqa: F401
