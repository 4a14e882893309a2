"""``promptcodec maps``: draw where a model's bits go in a picture, and how far its latents see."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from promptcodec.batch import runtime
from promptcodec.cli import options
from promptcodec.errors import UsageError

KINDS = {
    "bits": "bits per element, mean over channels",
    "channel": "bits per element of the channel that takes most",
    "field": "gradient of the central latent, largest value 1",
}
FIELD_SIDE = 256  # pixels of the central crop whose receptive field is drawn


def command(
    kind: Annotated[str, typer.Argument(help=f"{', '.join(KINDS)}.", show_default=False)],
    picture: Annotated[Path, typer.Argument(help="A photo.", show_default=False)],
    output: Annotated[Path, typer.Option("-o", "--output", help="A .png.")] = Path("map.png"),
    quality: Annotated[float, typer.Option("-q", "--quality", min=0, max=100, help="What the bits are for.")] = 50,
    model: options.ModelName = None,
    threads: options.Threads = 0,
) -> None:
    """Draw a map: the bits of a picture by place, of all channels or the most expensive, or a receptive field."""
    if kind not in KINDS:
        raise UsageError(f"there is no map {kind!r} (known: {', '.join(KINDS)})")
    runtime.prepare(threads)
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
