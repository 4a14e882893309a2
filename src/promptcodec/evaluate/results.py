"""The results file: one JSON object a line, one line a measurement."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from promptcodec.errors import PromptcodecError, UsageError
from promptcodec.evaluate.codecs.evaluated_codec import curve_key
from promptcodec.evaluate.metrics import IN_EVERY_ROW


@dataclass(frozen=True)
class Row:
    """One picture through one codec at one setting.

    ``bytes``: of the complete file; ``psnr`` in dB; ``ms_ssim`` 0 to 1, None for small pictures; times: wall clock.
    ``scores``: further metrics by name (see ``metrics.OPTIONAL``); ``mask``: SHA-256 of the mask's file;
    ``phases``: parts of the times, where the codec tells; ``peak_mib``: the process's largest size in the meantime,
    where the system tells; ``jobs``: processes that measured at once, with which times and not sizes change; ``spec``:
    what the codec was opened by, which several codecs of one name may be told apart by; ``parameters``: how many the
    networks have that it needs, by network, where the codec tells.
    """

    codec: str
    options: dict[str, Any]
    version: str
    picture: str
    sha256: str
    width: int
    height: int
    setting: float
    bytes: int
    bpp: float
    psnr: float
    ms_ssim: float | None
    encode_s: float
    decode_s: float
    scores: dict[str, float | None] = field(default_factory=dict)
    mask: str | None = None
    phases: dict[str, float] = field(default_factory=dict)
    peak_mib: float | None = None
    jobs: int = 1
    spec: str = ""
    parameters: dict[str, int] = field(default_factory=dict)

    @property
    def curve(self) -> str:
        """Key of the curve that this row is a point of."""
        return curve_key(self.codec, self.options)

    @property
    def key(self) -> tuple[str, str]:
        """What was measured: (key of the codec at its setting, picture)."""
        return f"{self.curve} @ {self.setting:g}", self.sha256

    def metric(self, name: str) -> float | None:
        """Return a metric by its name; None where it was not measured."""
        if name in IN_EVERY_ROW:
            value: float | None = getattr(self, name)
            return value
        return self.scores.get(name)


class Measurement(Protocol):
    """A row of a results file: a dataclass of JSON values, the first of which is ``codec``."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def key(self) -> tuple[str, str]:
        """What was measured."""


R = TypeVar("R", bound=Measurement)


class RowsFile(Generic[R]):
    """Measurements on disk, appended one at a time, so that a later run measures only what is new."""

    def __init__(self, path: Path, row_type: type[R]) -> None:
        """Read what is there, rows of ``row_type``; the file need not exist. Raises UsageError where it holds anything
        else.
        """
        self.path = path
        self._rows, self._valid_bytes, self._ends_line = _read(path, row_type)

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[R]:
        return iter(self._rows.values())

    def get(self, key: tuple[str, str]) -> R | None:
        return self._rows.get(key)

    def repair(self) -> None:
        """Cut off a last line that a crash left half-written: the next row begins a line of its own."""
        if not self.path.exists():
            return
        with self.path.open("r+b") as file:
            file.truncate(self._valid_bytes)
            if not self._ends_line:
                file.seek(0, 2)
                file.write(b"\n")
        self._ends_line = True

    def append(self, row: R) -> None:
        """Write one row through to the file. Raises PromptcodecError where it cannot, such as on a full disk."""
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(row), allow_nan=False) + "\n")
        except OSError as error:
            raise PromptcodecError(
                f"cannot write the results {self.path}: {error.strerror}; its rows are kept, the same command goes on"
            ) from error
        self._rows[row.key] = row


class ResultsFile(RowsFile[Row]):
    """The measurements of ``promptcodec eval``."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, Row)


def _read(path: Path, row_type: type[R]) -> tuple[dict[tuple[str, str], R], int, bool]:
    """Return the rows by key (the last of equals), bytes up to the last whole row, and whether these end a line."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return {}, 0, True
    except OSError as error:
        raise UsageError(f"cannot read the results {path}: {error.strerror}") from error
    rows: dict[tuple[str, str], R] = {}
    lines = data.splitlines(keepends=True)
    valid = 0
    for number, line in enumerate(lines, 1):
        row = _parse(line, row_type)
        if row is None:
            # Only a row that was being written may be cut short; a foreign file must not be truncated.
            if number == len(lines) and (rows or line.startswith(b'{"codec"'[: len(line)])):
                break
            raise UsageError(f"line {number} of {path} is not a result of promptcodec eval")
        rows[row.key] = row
        valid += len(line)
    return rows, valid, not valid or data[valid - 1 : valid] == b"\n"


def _parse(line: bytes, row_type: type[R]) -> R | None:
    try:
        values = json.loads(line)
        known = {f.name for f in fields(row_type)}  # rows of earlier releases lack the fields that have defaults
        row = row_type(**{name: value for name, value in values.items() if name in known})
        hash(row.key)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    return row
