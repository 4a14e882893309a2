"""Training pictures in memory: decoded once to uint8, on the training device as far as they fit.

More data than memory is a window that moves over the pictures; shards that arrive during a run join at its end. What is
in memory is a function of the recorded state, so a resumed run sees what the run that was cut saw.
"""

from __future__ import annotations

import io
import itertools
import math
import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from promptcodec.errors import UsageError
from promptcodec.train.data.sources import Entry, Unit, find_units
from promptcodec.train.data.window import Window

Say = Callable[[str], None]


def decode(data: bytes) -> NDArray[np.uint8]:
    """Return uint8 (H, W, 3) of an encoded picture."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def decode_or_say(data: bytes, name: str, say: Say) -> NDArray[np.uint8] | None:
    """Return the picture, or None, with a word to people, where it is damaged."""
    try:
        return decode(data)
    except (OSError, ValueError, SyntaxError) as error:  # what Pillow raises for damaged pictures
        say(f"left out: {name} cannot be decoded ({error})")
        return None


def load_pictures(sources: Sequence[str | Path]) -> list[NDArray[np.uint8]]:
    """Return all pictures of ``sources``, uint8 (H, W, 3). Raises UsageError where there is none."""
    with ThreadPoolExecutor(decoding_threads()) as pool:
        entries = [entry for unit in find_units(sources) for entry in unit.entries()]
        pictures = list(pool.map(lambda entry: decode(entry.read()), entries))
    if not pictures:
        raise UsageError(f"no picture in {', '.join(map(str, sources))}")
    return pictures


class PictureStore:
    """The pictures that crops are drawn from: ``pictures``, uint8 (H, W, 3) each, on the device or the host.

    ``smallest``: pictures with a side below it are left out. ``memory``: bytes for decoded pictures, None for all of
    them. ``reuse``: crops between two pictures where the window moves. ``share``: of the pictures, evenly spread, that
    are taken.
    """

    def __init__(
        self,
        sources: Sequence[str | Path],
        smallest: int,
        device: torch.device,
        memory: int | None = None,
        reuse: int = 32,
        say: Say = print,
        share: float = 1.0,
    ) -> None:
        self.share, self._listed = share, 0
        self.sources, self.smallest, self.device, self.reuse = sources, smallest, device, reuse
        self.say = say
        self._window: Window[int] = Window(device, memory)  # of entries
        self._units: list[str] = []
        self._first = 0  # entries that the run began with
        self._entries: list[Entry] = []
        self._left_out: set[int] = set()
        self._reported: set[str] = set()
        self._next = self._moved = 0
        self._moving = False
        self._depth = decoding_threads() + 1  # pictures decoded ahead of need
        self._pool = ThreadPoolExecutor(decoding_threads())
        self._ahead: deque[tuple[int, Future[NDArray[np.uint8] | None]]] = deque()

    @property
    def pictures(self) -> list[Tensor]:
        """What is in memory, oldest first."""
        return self._window.pictures

    def entry(self, position: int) -> Entry:
        """Return where one of ``pictures`` was read."""
        return self._entries[self._window.keys[position]]

    def fill(self, samples: int = 0) -> None:
        """Take up all that is there now. Raises UsageError where no picture is large enough."""
        self.take_up(self.arrived())
        self._first = len(self._entries)
        self._moved = samples // self.reuse
        if not self.pictures:
            what = ", ".join(map(str, self.sources)) or "no source"
            raise UsageError(f"no picture of at least {self.smallest} pixels a side in {what}")

    def sample(self, count: int) -> list[NDArray[np.uint8]]:
        """Return up to ``count`` pictures, (H, W, 3) each, evenly spread over those that the run began with.

        The same at every call, also in a run that was resumed.
        """
        pictures: list[NDArray[np.uint8]] = []
        for i in range(count):
            stretch = range(i * self._first // count, (i + 1) * self._first // count)
            decoded = (self._decode(index) for index in stretch if index not in self._left_out)
            pictures += itertools.islice((picture for picture in decoded if picture is not None), 1)
        return pictures

    def arrived(self) -> list[Unit]:
        """Complete units that are not taken up yet."""
        known = set(self._units)
        return [unit for unit in find_units(self.sources) if unit.name not in known]

    def take_up(self, units: Sequence[Unit]) -> list[str]:
        """Add the pictures of ``units``; those that are not complete are left for later. Returns the names taken."""
        if len(self._window.keys) + len(self._left_out) == len(self._entries):
            self._next = len(self._entries)
        taken = []
        for unit in units:
            try:
                self._entries += self._shared(unit.entries())
            except UsageError as error:
                if unit.name not in self._reported:
                    self.say(f"not taken up yet: {error}")
                self._reported.add(unit.name)
                continue
            taken.append(unit.name)
        self._units += taken
        self._ahead.clear()  # what comes after the last entry has changed
        while not self._moving and not self._resident:
            self._pull()
        return taken

    def move(self, samples: int) -> None:
        """Move the window to where it is after ``samples`` crops; nothing to do where all pictures are in memory."""
        while not self._resident and self._moved < samples // self.reuse:
            self._pull()
            self._moved += 1

    def state(self) -> dict[str, Any]:
        """Return the state that ``restore`` needs."""
        return {"units": list(self._units), "window": list(self._window.keys), "left_out": sorted(self._left_out),
                "next": self._next, "moved": self._moved, "moving": self._moving, "share": self.share,
                "first": self._first}  # fmt: skip

    def restore(self, state: dict[str, Any], samples: int) -> None:
        """Bring back the pictures of ``state``; where shards of it are missing, say so and take what there is."""
        units = {unit.name: unit for unit in find_units(self.sources)}
        missing = [name for name in state["units"] if name not in units]
        if missing:
            self.say(f"the data lacks {', '.join(missing[:5])}{' …' * (len(missing) > 5)}: other crops than before")
            self.fill(samples)
            return
        if state.get("share", 1.0) != self.share:
            self.fill(samples)
            return
        self._entries = [entry for name in state["units"] for entry in self._shared(units[name].entries())]
        self._units = list(state["units"])
        self._first = state.get("first", len(self._entries))
        self._left_out = set(state["left_out"])
        for index, picture in zip(state["window"], self._pool.map(self._decode, state["window"]), strict=True):
            if picture is None:
                raise UsageError(f"{self._entries[index].path} is no longer the file that this run started with")
            self._window.add(index, picture)
        self._next, self._moved, self._moving = state["next"], state["moved"], state["moving"]

    def _shared(self, entries: list[Entry]) -> list[Entry]:
        """Keep those of further entries that belong to the share, the very first one always."""
        first, self._listed = self._listed, self._listed + len(entries)
        return [
            entry
            for i, entry in enumerate(entries, first)
            if math.ceil((i + 1) * self.share) > math.ceil(i * self.share)
        ]

    @property
    def _resident(self) -> bool:
        return len(self._window.keys) + len(self._left_out) == len(self._entries)

    def _pull(self) -> None:
        """Decode the next picture and let the oldest go if memory is full."""
        while len(self._ahead) < min(self._depth, len(self._entries)):
            index = (self._ahead[-1][0] + 1 if self._ahead else self._next) % len(self._entries)
            self._ahead.append((index, self._pool.submit(self._decode, index)))
        index, future = self._ahead.popleft()
        self._next = (index + 1) % len(self._entries)
        picture = future.result()
        if picture is None:
            self._left_out.add(index)
            return
        self._window.add(index, picture)
        while self._window.full:
            self._moving = True
            self._window.drop_oldest()

    def _decode(self, index: int) -> NDArray[np.uint8] | None:
        entry = self._entries[index]
        try:
            data = entry.read()
        except OSError as error:
            self.say(f"left out: a picture of {entry.path} cannot be read ({error})")
            return None
        picture = decode_or_say(data, f"a picture of {entry.path}", self.say)
        return picture if picture is not None and min(picture.shape[:2]) >= self.smallest else None


def decoding_threads() -> int:
    """Return the threads that decode beside training."""
    return min(16, os.cpu_count() or 1)
