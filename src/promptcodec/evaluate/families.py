"""Curves of several measured codecs: adapters that differ in their rate, models or adapters for one rate each."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from statistics import fmean

from promptcodec.errors import UsageError
from promptcodec.evaluate.codecs.evaluated_codec import OURS
from promptcodec.evaluate.results import Row
from promptcodec.evaluate.summary import by_curve, is_ours

RATE = "rate"


@dataclass(frozen=True)
class Family:
    """Codecs that are one curve together: those whose label, name or specification fits one of ``patterns``.

    Patterns have ``*`` and ``?``. One without an @ leaves out what stands behind that of a codec, and the family is a
    curve for each setting there: paper 000's four models at six looks are six curves of four points.
    """

    name: str
    patterns: tuple[str, ...]


def read_families(texts: Sequence[str]) -> list[Family]:
    """Return the families that ``NAME=PATTERN`` say, of one name together. Raises UsageError for what says none."""
    patterns: dict[str, list[str]] = defaultdict(list)
    for text in texts:
        name, _, pattern = (part.strip() for part in text.partition("="))
        if not name or not pattern:
            raise UsageError(f"--family {text}: expected NAME=PATTERN, such as 'lpm=promptcodec:tic+lpm*'")
        patterns[name].append(pattern)
    return [Family(name, tuple(members)) for name, members in patterns.items()]


def as_curves(rows: Iterable[Row], families: Sequence[Family] = (), apart: Collection[str] = frozenset()) -> list[Row]:
    """Return the rows with each family as one codec, in place of its members, whose settings are numbered by their
    rate.

    Codecs that differ in the control ``rate`` alone and were measured at one setting each need no family: they are one
    curve, over 100 times that rate, unless their names are in ``apart``. Raises UsageError for a pattern that fits no
    codec.
    """
    rows = list(rows)
    left_apart = [row for row in rows if row.codec in apart]
    curves = by_curve(left_apart + _over_the_rate(row for row in rows if row.codec not in apart))
    joined: dict[str, dict[tuple[str, float], list[Row]]] = defaultdict(dict)
    members: set[str] = set()
    for family in families:
        for pattern in family.patterns:
            fitting = {label: row for label, (row, *_) in curves.items() if _fits(row, label, pattern)}
            if not fitting:
                raise UsageError(f"no codec fits {pattern!r} of family {family.name} (measured: {', '.join(curves)})")
            members |= fitting.keys()
            for label, first in fitting.items():
                name = family.name if "@" in pattern else family.name + _at(first.options.get("controls", {}))
                joined[name] |= _points(label, curves[label])
    left = [row for label, rows in curves.items() if label not in members for row in rows]
    return left + [row for name, points in joined.items() for row in _as_one(name, points)]


def _points(label: str, rows: Sequence[Row]) -> dict[tuple[str, float], list[Row]]:
    return {(label, setting): [row for row in rows if row.setting == setting] for setting in {r.setting for r in rows}}


def _as_one(name: str, points: Mapping[tuple[str, float], list[Row]]) -> list[Row]:
    """Return the rows of a family's points as those of one codec."""
    ours = all(is_ours(label) for label, _ in points)
    codec = f"{OURS}:{name}" if ours and not is_ours(name) else name
    options = {"family": sorted({rows[0].curve for rows in points.values()})}
    parameters = {name: count for rows in points.values() for name, count in rows[0].parameters.items()}
    by_rate = sorted(points.values(), key=lambda rows: fmean(row.bpp for row in rows))
    return [
        replace(row, codec=codec, options=options, setting=float(number), parameters=parameters)
        for number, rows in enumerate(by_rate, 1)
        for row in rows
    ]


def _over_the_rate(rows: Iterable[Row]) -> list[Row]:
    """Return the rows with codecs that differ in the control ``rate`` alone, and have one setting each, as one."""
    rows = list(rows)
    settings: dict[str, set[float]] = defaultdict(set)
    groups: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        settings[row.curve].add(row.setting)
        groups[_without_rate(row)].add(row.curve)
    joined = {
        group for group, curves in groups.items() if len(curves) > 1 and all(len(settings[c]) == 1 for c in curves)
    }
    return [_at_its_rate(row) if _without_rate(row) in joined else row for row in rows]


def _without_rate(row: Row) -> str:
    controls = row.options.get("controls", {})
    if RATE not in controls:
        return row.curve
    return f"{_head(row.codec)} {json.dumps(_options_without_rate(row), sort_keys=True)}"


def _options_without_rate(row: Row) -> dict[str, object]:
    controls = {name: value for name, value in row.options["controls"].items() if name != RATE}
    return row.options | {"controls": controls}


def _at_its_rate(row: Row) -> Row:
    options = _options_without_rate(row)
    name = _head(row.codec) + _at(options["controls"])  # type: ignore[arg-type]
    return replace(row, codec=name, options=options, setting=100 * row.options["controls"][RATE])


def _head(name: str) -> str:
    return name.partition("@")[0]


def _at(controls: Mapping[str, float]) -> str:
    return "@" * bool(controls) + "&".join(f"{k}={v:g}" for k, v in sorted(controls.items()))


def _fits(row: Row, label: str, pattern: str) -> bool:
    names = [label, row.codec, row.spec]
    if "@" not in pattern:
        names += [_head(row.codec), row.spec.rpartition("@")[0] if row.options.get("controls") else row.spec]
    return any(fnmatchcase(name, pattern) for name in names if name)
