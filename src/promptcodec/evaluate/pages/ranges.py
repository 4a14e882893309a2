"""Drawings of what one control covers: adaptive ranges of several methods, and the two ends of each."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from promptcodec.errors import UsageError
from promptcodec.evaluate.bdrate import Curve
from promptcodec.evaluate.metrics import METRICS
from promptcodec.evaluate.pages.plots import Panel, draw_line, measured_curves, save_panels
from promptcodec.evaluate.results import Row
from promptcodec.evaluate.summary import by_curve

_COLOURS = ("tab:green", "tab:purple", "tab:cyan", "tab:pink", "tab:olive")  # of methods with settings
_PLAIN_COLOURS = ("tab:blue", "tab:orange", "tab:red", "tab:brown", "tab:gray")  # of the others


@dataclass(frozen=True)
class Method:
    """A codec at one or several settings of its controls: their curves by what states the setting, in order."""

    name: str
    curves: dict[str, Curve]


def range_plot(rows: Iterable[Row], path: Path, metrics: Sequence[str] = ("psnr",)) -> None:
    """Plot adaptive ranges (paper 000, Figs. 4 to 7 and 10), a panel a metric and a colour a method: the area between
    the best and the worst that a model with its adapters reaches over their settings, the first of which is drawn
    dashed and the last as a line. A single method has the curve of every setting. Codecs without settings are curves.

    The settings of adapters are those in a codec's name after ``@``. Raises UsageError as ``plots.rd_plot``, and where
    no codec was measured at two settings or more.
    """
    _save(path, rows, metrics, _draw_range)


def ends_plot(rows: Iterable[Row], path: Path, metrics: Sequence[str] = ("psnr",)) -> None:
    """Plot each method at its first setting, dashed, and at its last (paper 000, Figs. 11 and 12).

    Raises UsageError as ``range_plot``.
    """
    _save(path, rows, metrics, _draw_ends)


def _save(
    path: Path, rows: Iterable[Row], metrics: Sequence[str], draw: Callable[[Any, Sequence[Method]], None]
) -> None:
    rows = list(rows)
    panels = []
    for metric in metrics:
        methods = _methods(rows, metric)
        if all(len(method.curves) < 2 for method in methods):
            names = ", ".join(method.name for method in methods) or f"nothing with {metric}"
            raise UsageError(f"an adaptive range needs a codec at several settings (NAME@look=0, ...): {names}")
        panels.append(Panel(METRICS[metric].axis, _drawing(draw, methods), METRICS[metric].lower_is_better))
    save_panels(path, panels)


def _drawing(draw: Callable[[Any, Sequence[Method]], None], methods: Sequence[Method]) -> Callable[[Any], None]:
    return lambda axes: draw(axes, methods)


def _methods(rows: Sequence[Row], metric: str) -> list[Method]:
    """Return the codecs that were measured, their settings in order; of two with one name each with its model."""
    labels = by_curve(rows)
    curves = measured_curves(rows, metric)
    methods: dict[str, dict[str, Curve]] = {}
    names: dict[str, str] = {}
    for label, (first, *_) in labels.items():
        if not curves.get(label):
            continue
        head, _, setting = first.codec.partition("@")
        options = {name: value for name, value in first.options.items() if name != "controls"}
        if setting and "family" in options:
            del options["family"]  # of other members at each setting
        key = f"{head} {json.dumps(options, sort_keys=True)}"
        names[key] = head
        methods.setdefault(key, {})[setting] = curves[label]
    several = {name for name in names.values() if list(names.values()).count(name) > 1}
    return [
        Method(_name(key, names[key], several), dict(sorted(settings.items(), key=lambda item: _order(item[0]))))
        for key, settings in methods.items()
    ]


def _name(key: str, name: str, several: set[str]) -> str:
    if name not in several:
        return name
    model = str(json.loads(key[len(name) + 1 :]).get("fingerprint", key))
    return f"{name} ({model[:8]})"


def _order(setting: str) -> list[float]:
    """Return the numbers in what states a setting, such as ``look=0.2``; nothing where it states none."""
    try:
        return [float(part.rpartition("=")[2]) for part in setting.split("&")]
    except ValueError:
        return []


def _draw_range(axes: Any, methods: Sequence[Method]) -> None:
    single = sum(len(method.curves) > 1 for method in methods) == 1
    for colour, method in _coloured(methods):
        if len(method.curves) == 1:
            draw_line(axes, method.name, next(iter(method.curves.values())), color=colour)
            continue
        area = _envelope(list(method.curves.values()))
        label, settings = f"{method.name}, {len(method.curves)} settings", list(method.curves)
        if not single:
            label += f": {settings[0]} (dashed) to {settings[-1]}"
        if area is not None:
            axes.fill_between(*area, alpha=0.22, color=colour, label=label, linewidth=0)
        last = len(method.curves) - 1
        for index, (setting, curve) in enumerate(method.curves.items()):
            if not single and 0 < index < last:
                continue
            name = setting if single else f"{label}, {setting}" if area is None else "_nolegend_"
            style = "--" if index == 0 else "-" if index == last else ":"
            _edge(axes, name, curve, color=colour, linestyle=style, alpha=1 if index in (0, last) else 0.7)


def _draw_ends(axes: Any, methods: Sequence[Method]) -> None:
    for colour, method in _coloured(methods):
        settings = list(method.curves)
        if len(settings) == 1:
            draw_line(axes, method.name, method.curves[settings[0]], color=colour)
            continue
        for setting, style in ((settings[0], "--"), (settings[-1], "-")):
            name = f"{method.name}@{setting}"
            _edge(axes, name, method.curves[setting], color=colour, linestyle=style, marker="o", markersize=3.5)


def _edge(axes: Any, name: str, curve: Curve, **style: Any) -> None:
    points = sorted(curve)
    axes.plot([rate for rate, _ in points], [quality for _, quality in points], label=name, linewidth=1.2, **style)


def _coloured(methods: Sequence[Method]) -> Iterable[tuple[str, Method]]:
    """Return the methods with their colours: those with settings have some of their own."""
    steered, plain = cycle(_COLOURS), cycle(_PLAIN_COLOURS)
    return [(next(steered if len(method.curves) > 1 else plain), method) for method in methods]


def _envelope(curves: Sequence[Curve]) -> tuple[Any, Any, Any] | None:
    """Return rates that all curves reach, and the least and greatest quality there (straight lines over log rate).

    None where they have no rate in common.
    """
    ordered = [sorted(curve) for curve in curves]
    least, most = max(c[0][0] for c in ordered), min(c[-1][0] for c in ordered)
    if least >= most:
        return None
    rates = np.geomspace(least, most, 60)
    values = [np.interp(np.log(rates), np.log([r for r, _ in c]), [q for _, q in c]) for c in ordered]
    return rates, np.min(values, axis=0), np.max(values, axis=0)
