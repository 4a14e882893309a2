"""What surrounds the steps of a run: its log, and how it is asked to stop."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

from promptcodec.system.printable import json_text


class Log:
    """``log.jsonl`` of a folder; followers write nothing."""

    def __init__(self, folder: Path, writes: bool) -> None:
        self._path = folder / "log.jsonl" if writes else None

    def __enter__(self) -> Log:
        self._file = self._path.open("a") if self._path else None
        return self

    def write(self, row: dict[str, Any]) -> None:
        """Add a line."""
        if self._file is not None:
            self._file.write(json_text(row) + "\n")
            self._file.flush()

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()


class StopSignal:
    """Catches SIGTERM and SIGINT so that the step in hand ends and a checkpoint is written."""

    received = False

    def __enter__(self) -> None:
        self._old = {s: signal.signal(s, self._catch) for s in (signal.SIGTERM, signal.SIGINT)}

    def _catch(self, *_: object) -> None:
        self.received = True

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)
