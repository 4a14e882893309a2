"""Training pictures from shards that are read as a stream: bounded memory, nothing kept on the disk.

The pictures in memory are the shuffle buffer: every crop is drawn at random from all of them, and after ``reuse`` crops
the next picture of the stream takes the place of the oldest. Each round goes through the shards in another order. What
is in memory is a stretch of the stream, so its two ends are all that a checkpoint records, and a resumed run reads
that stretch again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from promptcodec.errors import UsageError
from promptcodec.train.data.pictures import Say, decode_or_say, decoding_threads
from promptcodec.train.data.remote import expand, is_remote, members
from promptcodec.train.data.sources import Unit
from promptcodec.train.data.window import Window

MEMORY = 4 * 2**30  # bytes of decoded pictures, where the recipe names no bound
START = 256  # pictures that the first step waits for; memory fills up during the run


class Place(NamedTuple):
    """A place in the stream: round, shard in the round's order, byte in the shard."""

    round: int
    shard: int
    byte: int


@dataclass(frozen=True)
class _Item:
    start: Place
    end: Place
    name: str
    data: bytes


class StreamedStore:
    """The stretch of a stream that crops are drawn from; ``pictures`` as in ``PictureStore``.

    ``sources``: addresses or paths of tar files, ``{000..127}`` for ranges. ``seed`` decides the shards' order.
    """

    def __init__(
        self,
        sources: Sequence[str | Path],
        smallest: int,
        device: torch.device,
        memory: int | None = None,
        reuse: int = 32,
        seed: int = 0,
        say: Say = print,
    ) -> None:
        self.addresses = [each for source in sources for each in expand(str(source))]
        for address in self.addresses:
            path = urlsplit(address).path if is_remote(address) else address
            if PurePosixPath(path).suffix.lower() != ".tar":
                raise UsageError(f"{address} cannot be streamed: expected the address of a .tar file")
        self.smallest, self.device, self.reuse, self.seed, self.say = smallest, device, reuse, seed, say
        self._window: Window[Place] = Window(device, memory or MEMORY)
        self._next, self._moved = Place(0, 0, 0), 0
        self._resident = False  # one round fits into memory
        self._dropped = False
        self._reader, self._decoders = ThreadPoolExecutor(1), ThreadPoolExecutor(decoding_threads())
        self._stream: Iterator[_Item] | None = None
        self._ahead: deque[Future[tuple[_Item, Future[NDArray[np.uint8] | None]]]] = deque()

    @property
    def pictures(self) -> list[Tensor]:
        """What is in memory, oldest first."""
        return self._window.pictures

    def entry(self, position: int) -> None:
        """Return nothing: what lies beside a picture in a stream may come long after it."""

    def fill(self, samples: int = 0) -> None:
        """Read what the first step needs. Raises UsageError where no picture is large enough."""
        self._moved = samples // self.reuse
        while len(self.pictures) < START and not (self._resident or self._dropped):
            self._pull()

    def move(self, samples: int) -> None:
        """Read on to where the stream is after ``samples`` crops."""
        while not self._resident and self._moved < samples // self.reuse:
            self._pull()
            self._moved += 1

    def sample(self, count: int) -> list[NDArray[np.uint8]]:
        """Return the first pictures of the stream, up to ``count``, (H, W, 3) each: the same at every call."""
        pictures: list[NDArray[np.uint8]] = []
        for item in self._items(Place(0, 0, 0)):
            if item.start.round > 0:
                break
            picture = decode_or_say(item.data, item.name, self.say)
            if picture is not None and min(picture.shape[:2]) >= self.smallest:
                pictures.append(picture)
            if len(pictures) == count:
                break
        return pictures

    def arrived(self) -> list[Unit]:
        """Return nothing: the shards of a stream are named beforehand."""
        return []

    def take_up(self, units: Sequence[Unit]) -> list[str]:
        """Do nothing, as above."""
        assert not units
        return []

    def state(self) -> dict[str, Any]:
        """Return the state that ``restore`` needs."""
        first = self._window.keys[0] if self._window.keys else self._next
        return {"stream": list(self.addresses), "first": list(first), "next": list(self._next), "moved": self._moved,
                "resident": self._resident, "dropped": self._dropped}  # fmt: skip

    def restore(self, state: dict[str, Any], samples: int) -> None:
        """Read the stretch of ``state`` again; where it is one of other shards, say so and begin anew."""
        if state.get("stream") != self.addresses:
            self.say("the data is not the stream that this run had before: other crops than before")
            self.fill(samples)
            return
        self._dropped = state["dropped"]
        self._next, end = Place(*state["first"]), Place(*state["next"])
        while self._next < end:
            self._pull()
        self._moved, self._resident = state["moved"], state["resident"]

    def _pull(self) -> None:
        """Take up the next picture, and let the oldest go if memory is full."""
        if self._stream is None:
            self._stream = self._items(self._next)
        while len(self._ahead) <= decoding_threads():
            self._ahead.append(self._reader.submit(self._read, self._stream))
        item, decoded = self._ahead[0].result()
        if item.start.round > 0 and not self._dropped:
            if not self.pictures:
                raise UsageError(f"no picture of at least {self.smallest} pixels a side in {self.addresses[0]} …")
            self._resident = True
            self._stream = None
            self._ahead.clear()
            return
        self._ahead.popleft()
        self._next = item.end
        picture = decoded.result()
        if picture is None or min(picture.shape[:2]) < self.smallest:
            return
        self._window.add(item.start, picture)
        while self._window.full:
            self._dropped = True
            self._window.drop_oldest()

    def _read(self, stream: Iterator[_Item]) -> tuple[_Item, Future[NDArray[np.uint8] | None]]:
        item = next(stream)
        return item, self._decoders.submit(decode_or_say, item.data, item.name, self.say)

    def _items(self, place: Place) -> Iterator[_Item]:
        """Yield the stream from ``place`` on, round after round. Raises UsageError after a round without a picture."""
        turn, first, byte = place
        while True:
            count = 0
            order = np.random.default_rng([self.seed, turn]).permutation(len(self.addresses))
            for shard in range(first, len(order)):
                address = self.addresses[order[shard]]
                for member in members(address, byte, self.say):
                    count += 1
                    start, end = (Place(turn, shard, at) for at in (member.start, member.end))
                    yield _Item(start, end, f"{member.name} of {address}", member.data)
                byte = 0
            if not count and first == 0:
                raise UsageError(f"no picture in {len(self.addresses)} streamed shards ({self.addresses[0]} …)")
            turn, first = turn + 1, 0
