"""A picture at several settings with the maps of what the codec does, one under the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from promptcodec.errors import UsageError
from promptcodec.evaluate.codecs.ours import OurCodec
from promptcodec.evaluate.data.datasets import PictureFile
from promptcodec.evaluate.judge import Judge
from promptcodec.evaluate.map_model import Map, attention_maps, bit_allocation, channel_bits, strongest_channel
from promptcodec.evaluate.metrics import REGION
from promptcodec.evaluate.pages.plots import new_figure, save_figure
from promptcodec.evaluate.results import Row
from promptcodec.evaluate.runner import measure_one
from promptcodec.quality.pixels import Mask, Pixels

_WIDTH = 3.2  # inches a column
_OVERLAY = 0.6  # opacity of attention over the picture


@dataclass(frozen=True)
class Column:
    """A codec at one setting: what was measured of its file, the decoded pixels (H, W, 3), and maps (h, w) by kind."""

    row: Row
    pixels: Pixels
    maps: dict[str, Map]


def _bits(codec: OurCodec, rgb: Pixels, setting: float) -> Map:
    network, x, q, steering = codec.inputs(rgb, setting)
    return channel_bits(network, x, q, steering)


def _mean_bits(codec: OurCodec, rgb: Pixels, setting: float) -> Map:
    return bit_allocation(_bits(codec, rgb, setting))[0]  # type: ignore[no-any-return]


def _channel(codec: OurCodec, rgb: Pixels, setting: float) -> Map:
    return strongest_channel(_bits(codec, rgb, setting))[1][0]  # type: ignore[no-any-return]


def _attention(codec: OurCodec, rgb: Pixels, setting: float) -> Map:
    """Return the mean over the prompted blocks of g_a, at the places of the finest of them."""
    network, x, q, steering = codec.inputs(rgb, setting)
    maps = [m[0] for site, m in attention_maps(network, x, q, steering).items() if site.transform == "g_a" and m.any()]
    if not maps:
        raise UsageError(f"{codec.name} has no prompts in its encoder whose attention could be drawn")
    rows = max(len(each) for each in maps)
    return np.mean([each.repeat(rows // len(each), 0).repeat(rows // len(each), 1) for each in maps], axis=0)  # type: ignore[no-any-return]


MAPS: dict[str, tuple[str, Callable[[OurCodec, Pixels, float], Map]]] = {
    "bits": ("bits per element, mean over channels", _mean_bits),
    "channel": ("bits per element, channel that takes most", _channel),
    "attention": ("share of attention on prompts, encoder", _attention),
}
"""Maps by kind: what their scale says, and how they are made of a codec, a picture and a setting."""


def column(
    codec: OurCodec, setting: float, picture: PictureFile, kinds: Sequence[str], mask: Mask | None = None
) -> Column:
    """Measure a file of the picture, and map the kinds of ``MAPS``; ``mask``: the region, (H, W).

    Raises PromptcodecError where the codec fails on the picture, UsageError where nothing can be mapped.
    """
    rgb = picture.pixels()
    judge = Judge([] if mask is None else REGION)
    masked = None if mask is None else ("", mask)
    row, pixels = measure_one(codec, setting, picture, rgb, judge, masked)
    return Column(row, pixels, {kind: MAPS[kind][1](codec, rgb, setting) for kind in kinds})


def save_sheet(columns: Sequence[Column], picture: Pixels, path: Path) -> None:
    """Write the decoded pictures with their rates and PSNR above one row a kind of map, each on one scale for all
    columns (paper 001, Fig. 6; paper 003, Figs. 5 and 6).

    Attention lies over the picture (H, W, 3). Raises UsageError as ``plots.save_figure``.
    """
    kinds = list(columns[0].maps)
    height, width = picture.shape[:2]
    tall = _WIDTH * height / width
    figure = new_figure(_WIDTH * len(columns) + 1.2, tall * (1 + len(kinds)) + 0.8)
    grid = figure.subplots(1 + len(kinds), len(columns), squeeze=False)
    for each, axes in zip(columns, grid[0], strict=True):
        axes.imshow(each.pixels)
        axes.set_title(_caption(each.row), fontsize=8)
    for kind, line in zip(kinds, grid[1:], strict=True):
        low = min(float(each.maps[kind].min()) for each in columns)
        high = max(float(each.maps[kind].max()) for each in columns)
        for each, axes in zip(columns, line, strict=True):
            drawn = _draw(axes, kind, each.maps[kind], picture, (low, high))
        bar = figure.colorbar(drawn, ax=line.tolist(), shrink=0.9, aspect=25)
        bar.set_label(MAPS[kind][0].replace(", ", ",\n"), fontsize=8)
        bar.ax.tick_params(labelsize=8)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[], xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    save_figure(figure, path)


def _draw(axes: Any, kind: str, values: Map, picture: Pixels, scale: tuple[float, float]) -> Any:
    """Draw a map, whose places reach beyond the picture where that was padded."""
    height = len(picture)
    side = 64 * -(-height // 64) / len(values)  # pixels of a place
    extent = (-0.5, values.shape[1] * side - 0.5, len(values) * side - 0.5, -0.5)
    opacity = 1.0
    if kind == "attention":
        axes.imshow(picture.mean(axis=2), cmap="gray")
        opacity = _OVERLAY
    cmap = "jet" if kind == "attention" else "magma"
    return axes.imshow(values, cmap=cmap, vmin=scale[0], vmax=scale[1], extent=extent, alpha=opacity)


def _caption(row: Row) -> str:
    text = f"{row.codec}, {row.setting:.4g}\n{row.bpp:.3f} bpp, PSNR {row.psnr:.2f} dB"
    if row.metric("psnr_inside") is not None:
        outside = row.metric("psnr_outside")
        text += f"\n{row.metric('psnr_inside'):.2f} inside, {'-' if outside is None else f'{outside:.2f}'} outside"
    return text
