"""What a process needs before it codes: allocator, threads, one loaded codec."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from promptcodec.codec.allocator import keep_large_blocks

if TYPE_CHECKING:
    from promptcodec.codec.codec import Codec
    from promptcodec.steer.files import SteeredCodec


def prepare(threads: int) -> None:
    """Set up this process to code with ``threads`` threads (0: torch's own choice)."""
    keep_large_blocks()
    if threads:  # else torch is not imported before something has to be coded
        import torch

        torch.set_num_threads(threads)


@cache
def codec(model: str | None, device: str) -> Codec:
    """The codec of this process, loaded at first use."""
    from promptcodec.api import load

    return load(model, device=device)


@cache
def steered(model: str | None, device: str, adapters: tuple[str, ...]) -> SteeredCodec:
    """The codec of this process with adapters, loaded at first use."""
    import promptcodec.api

    return promptcodec.api.steered(codec(model, device), adapters)
