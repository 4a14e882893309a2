"""``promptcodec maps``: draw where a model's bits go in a picture, how far its latents see, where prompts are heard."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from promptcodec.batch import runtime
from promptcodec.cli import completion, options
from promptcodec.codec.search import DEFAULT_QUALITY
from promptcodec.errors import UsageError

KINDS = {
    "bits": "bits per element, mean over channels",
    "channel": "bits per element of the channel that takes most",
    "field": "gradient of the central latent, largest value 1",
}
SHEET = "sheet"
FIELD_SIDE = 256  # pixels of the central crop whose receptive field is drawn


def command(
    kind: Annotated[str, typer.Argument(help=f"{', '.join((*KINDS, SHEET))}.", show_default=False)],
    picture: Annotated[Path, typer.Argument(help="A photo.", show_default=False)],
    output: Annotated[Path, typer.Option("-o", "--output", help="A .png.")] = Path("map.png"),
    qualities: Annotated[
        list[float] | None,
        typer.Option(
            "-q", "--quality", min=0, max=100, help="What the bits are for, 50 by default; sheet: again for more."
        ),
    ] = None,
    model: options.ModelName = None,
    codecs: Annotated[
        list[str] | None,
        typer.Option(
            "--codec",
            help="sheet: promptcodec:MODEL+ADAPTER@NAME=VALUE, again for more; the model by default.",
            autocompletion=completion.codecs,
        ),
    ] = None,
    rows: Annotated[
        list[str] | None,
        typer.Option("--row", help="sheet: bits, channel or attention (on prompts), again for more; bits by default."),
    ] = None,
    roi: Annotated[
        str | None, typer.Option("--roi", help="sheet: the region, a picture or x,y,w,h, for codecs that take one.")
    ] = None,
    threads: options.Threads = 0,
) -> None:
    """Draw a map: a picture's bits by place, of all channels or the dearest; a receptive field; a sheet of several."""
    if kind not in (*KINDS, SHEET):
        raise UsageError(f"there is no map {kind!r} (known: {', '.join((*KINDS, SHEET))})")
    runtime.prepare(threads)
    if kind == SHEET:
        _sheet(picture, output, _specs(model, codecs), qualities or [], options.names_of("--row", rows), roi)
        return
    if len(qualities or []) > 1 or codecs or rows or roi:
        raise UsageError(f"several -q, --codec, --row and --roi are for a sheet, not for {kind}")
    quality = (qualities or [DEFAULT_QUALITY])[0]
    import torch

    from promptcodec.evaluate.data.datasets import read_picture
    from promptcodec.evaluate.map_model import (
        bit_allocation,
        channel_bits,
        plot_map,
        receptive_field,
        strongest_channel,
    )
    from promptcodec.quality.reference_features import to_tensor
    from promptcodec.store.model_file import load_model
    from promptcodec.store.shipped import DEFAULT, find_model

    network = load_model(find_model(str(model or DEFAULT))).network
    x = to_tensor(read_picture(picture).pixels())
    if kind == "field":
        height, width = x.shape[2:]
        if min(height, width) < FIELD_SIDE:
            raise UsageError(f"a receptive field needs a picture of {FIELD_SIDE} pixels a side, not {width} x {height}")
        top, left = (height - FIELD_SIDE) // 2, (width - FIELD_SIDE) // 2
        values = receptive_field(network.g_a, x[:, :, top : top + FIELD_SIDE, left : left + FIELD_SIDE])
    else:
        bits = channel_bits(network, x, None if network.gain is None else torch.tensor([quality / 100]))
        values = (bit_allocation(bits) if kind == "bits" else strongest_channel(bits)[1])[0]
    plot_map(values, output, KINDS[kind])


def _specs(model: Path | str | None, codecs: list[str] | None) -> list[str]:
    named = options.names_of("--codec", codecs)
    if model is not None and named:
        raise UsageError("give the models in --codec, promptcodec:MODEL, not in --model besides")
    return named or ["promptcodec" if model is None else f"promptcodec:{model}"]


def _sheet(
    picture: Path, output: Path, specs: list[str], qualities: list[float], kinds: list[str], roi: str | None
) -> None:
    """Draw each codec at each quality, and at its own where it has one."""
    from promptcodec.evaluate.codecs.ours import OurCodec
    from promptcodec.evaluate.codecs.registry import open_codec
    from promptcodec.evaluate.data.datasets import read_picture
    from promptcodec.evaluate.pages.map_sheet import MAPS, column, save_sheet
    from promptcodec.system.extras import import_extra

    if unknown := [name for name in kinds if name not in MAPS]:
        raise UsageError(f"--row is one of {', '.join(MAPS)}, not {unknown[0]!r}")
    import_extra("matplotlib.figure", "matplotlib")  # not after a minute of encoding
    file = read_picture(picture)
    pixels = file.pixels()
    mask = None if roi is None else options.mask_of(roi, *pixels.shape[:2])
    columns = []
    for spec in specs:
        codec = open_codec(spec)
        if not isinstance(codec, OurCodec):
            raise UsageError(f"{spec} has no networks to look into; --codec is a promptcodec:MODEL+ADAPTER@NAME=VALUE")
        settings = codec.settings if len(codec.settings) == 1 else qualities or [DEFAULT_QUALITY]
        columns += [column(codec, setting, file, kinds or ["bits"], mask) for setting in settings]
    save_sheet(columns, pixels, output)
