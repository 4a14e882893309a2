"""Results as they are kept with the sources: the same rows in a tenth of the space, one line a setting.

Sizes are exact, qualities rounded far below what a table shows. The seconds of a row stay in its results file: those
of a run that fills a table with pictures, beside other work, are no measurement of speed.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from promptcodec.errors import UsageError
from promptcodec.evaluate.results import ResultsFile, Row
from promptcodec.system.atomic import atomic_write

_DIGITS = {"psnr": 4, "ms_ssim": 6, "encode_s": 4, "decode_s": 4, "peak_mib": 1}
_COLUMNS = ("bytes", "psnr", "ms_ssim")
_TIMES = ("encode_s", "decode_s", "peak_mib")


@dataclass(frozen=True)
class Results:
    """Rows with what is to be said about them.

    ``kind``: what ``report`` makes of them; ``commands``: what measured them; ``note``: in Markdown.
    """

    title: str
    kind: str
    rows: tuple[Row, ...]
    commands: tuple[str, ...] = ()
    note: str = ""
    extra: dict[str, Any] = field(default_factory=dict)


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a results file, or of a packed one (``.json``). Raises UsageError."""
    return list(unpack(path).rows) if path.suffix == ".json" else list(ResultsFile(path))


def pack(results: Results, path: Path, times: bool = False) -> None:
    """Write the results; ``times``: with their seconds and memory. Raises UsageError where that fails."""
    pictures: dict[str, list[Any]] = {}
    curves: dict[str, list[Row]] = defaultdict(list)
    for row in results.rows:
        mask = [] if row.mask is None else [row.mask]  # a set has one for each picture
        pictures.setdefault(row.sha256, [row.picture, row.sha256, row.width, row.height, *mask])
        curves[row.curve].append(row)
    order = {sha256: index for index, sha256 in enumerate(sorted(pictures, key=lambda s: pictures[s][0]))}
    lines = []
    for rows in curves.values():
        first = rows[0]
        about = {"codec": first.codec, "options": first.options, "version": first.version}
        known = {"parameters": first.parameters, "spec": _portable(first.spec)}
        head = json.dumps(about | {name: value for name, value in known.items() if value})
        settings = sorted({row.setting for row in rows})
        points = (_point(s, [r for r in rows if r.setting == s], order, times) for s in settings)
        lines.append(f'  {{"curve": {head}, "points": [\n   ' + ",\n   ".join(points) + "]}")
    meta = {"title": results.title, "kind": results.kind, "commands": results.commands, "note": results.note}
    head = json.dumps(meta | {"extra": results.extra}, indent=1)[:-2]
    table = ",\n  ".join(json.dumps(pictures[sha256]) for sha256 in order)
    text = f'{head},\n "pictures": [\n  {table}],\n "curves": [\n' + ",\n".join(lines) + "]\n}\n"
    try:
        with atomic_write(path, overwrite=True) as file:
            file.write(text.encode())
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error


def unpack(path: Path) -> Results:
    """Read what ``pack`` wrote. Raises UsageError for anything else."""
    try:
        content = json.loads(path.read_text("utf-8"))
        pictures = [_picture(*values) for values in content["pictures"]]
        rows = tuple(row for curve in content["curves"] for row in _rows(curve, pictures))
        return Results(
            content["title"], content["kind"], rows, tuple(content["commands"]), content["note"], content["extra"]
        )
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise UsageError(f"{path} holds no packed results of promptcodec eval ({error!r})") from error


def _portable(spec: str) -> str:
    """Return what a codec was opened by, unless it names files of one machine."""
    return "" if any(Path(part).is_absolute() for part in re.split("[:+]", spec)) else spec


def _picture(name: str, sha256: str, width: int, height: int, mask: str | None = None) -> dict[str, Any]:
    return {"picture": name, "sha256": sha256, "width": width, "height": height, "mask": mask}


def _point(setting: float, rows: list[Row], order: dict[str, int], times: bool) -> str:
    rows = sorted(rows, key=lambda row: order[row.sha256])
    point: dict[str, Any] = {"setting": setting}
    if len(rows) < len(order):
        point["pictures"] = [order[row.sha256] for row in rows]
    for name in (*_COLUMNS, *(_TIMES if times else ())):
        point[name] = [_rounded(getattr(row, name), _DIGITS.get(name)) for row in rows]
    scores = {name for row in rows for name in row.scores}
    point["scores"] = {name: [_rounded(row.scores.get(name), 5) for row in rows] for name in sorted(scores)}
    return json.dumps(point, separators=(",", ":"))


def _rounded(value: float | None, digits: int | None) -> float | None:
    return value if value is None or digits is None else round(value, digits)


def _rows(curve: dict[str, Any], pictures: list[dict[str, Any]]) -> Iterable[Row]:
    for point in curve["points"]:
        for index, number in enumerate(point.get("pictures", range(len(pictures)))):
            picture = pictures[number]
            values = {name: point[name][index] for name in _COLUMNS}
            for name in ("encode_s", "decode_s"):
                values[name] = point[name][index] if name in point else 0.0
            scores = {n: column[index] for n, column in point["scores"].items() if column[index] is not None}
            peak = point["peak_mib"][index] if "peak_mib" in point else None
            bpp = 8 * values["bytes"] / (picture["width"] * picture["height"])
            yield Row(
                **curve["curve"], **picture, **values, setting=point["setting"], bpp=bpp, scores=scores, peak_mib=peak
            )
