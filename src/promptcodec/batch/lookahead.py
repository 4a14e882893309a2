"""Pictures of a shard looked at some ahead, so that those of one size go through the networks together."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from PIL import Image

from promptcodec.batch.records import Coded

T = TypeVar("T")
Coding = Callable[[], Coded]
Prepare = Callable[[Sequence[bytes]], Sequence[Coding | None]]

ROUNDS = 4  # batches that are looked ahead, in which pictures of one size may find each other
MOST_ITEMS = 1024  # pictures and what stands between them
MOST_BYTES = 2**27  # of encoded pictures that are looked ahead
MOST_PIXELS = 2**25  # of pictures that wait for their turn, at about ten bytes each with their latents


def look_ahead(
    items: Iterator[T], batch_size: int, encoded: Callable[[T], bytes | None], prepare: Prepare,
    ends_window: Callable[[T], bool] = lambda item: False,
) -> Iterator[tuple[T, Coding | None]]:  # fmt: skip
    """Yield all items in their order, each with what codes its picture; None where that is not prepared.

    ``encoded``: the bytes of an item's picture, None for an item without. ``ends_window``: true of an item that must be
    dealt with before the next is read. At a ``batch_size`` of 1 each item is passed on as it comes.
    """
    if batch_size == 1:
        yield from ((item, None) for item in items)
        return
    window: list[tuple[T, bytes | None]] = []
    for item in items:
        window.append((item, encoded(item)))
        pictures = [data for _, data in window if data is not None]
        full = len(pictures) >= ROUNDS * batch_size or sum(map(len, pictures)) >= MOST_BYTES
        if full or len(window) >= MOST_ITEMS or ends_window(item):
            yield from _prepared(window, prepare)
            window = []
    yield from _prepared(window, prepare)


def _prepared(window: list[tuple[T, bytes | None]], prepare: Prepare) -> Iterator[tuple[T, Coding | None]]:
    sizes = [None if data is None else _size(data) for _, data in window]
    codings: dict[int, Coding | None] = {}
    room = MOST_PIXELS
    for size in dict.fromkeys(sizes):
        if size is None:
            continue
        alike = [index for index, other in enumerate(sizes) if other == size][: room // (size[0] * size[1])]
        if len(alike) > 1:
            room -= len(alike) * size[0] * size[1]
            codings |= zip(alike, prepare([window[index][1] or b"" for index in alike]), strict=True)
    for index, (item, _) in enumerate(window):
        yield item, codings.pop(index, None)


def _size(data: bytes) -> tuple[int, int] | None:
    """Width and height by the header of a picture; None where it cannot be read, of which its coding will tell."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            return image.size if min(image.size) > 0 else None
    except Exception:  # of any kind, as Pillow's readers are
        return None
