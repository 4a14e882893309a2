"""``promptcodec compare``: one picture, all codecs at our file size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from promptcodec.batch import runtime
from promptcodec.cli import completion, options
from promptcodec.cli.streams import say, say_record
from promptcodec.codec.search import DEFAULT_QUALITY
from promptcodec.errors import UsageError
from promptcodec.evaluate.metrics import REGION
from promptcodec.system.printable import printable
from promptcodec.system.special_files import is_stream

if TYPE_CHECKING:
    from promptcodec.bitstream.tiling import Rect
    from promptcodec.codec.adapters import AdapterSource
    from promptcodec.evaluate.codecs.evaluated_codec import EvaluatedCodec
    from promptcodec.evaluate.compare import Contender
    from promptcodec.evaluate.data.datasets import PictureFile
    from promptcodec.evaluate.judge import Judge
    from promptcodec.quality.pixels import Pixels

DEFAULT_PEERS = ("jpeg", "webp", "jpeg2000", "jpegxl", "avif", "avif-psnr", "heic")


def command(
    picture: Annotated[Path, typer.Argument(help="A photo.", show_default=False)],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="The montage, a PNG; NAME-compare.png.")] = None,
    quality: Annotated[
        float | None, typer.Option("-q", "--quality", min=0, max=100, help="Of promptcodec's file; 50 by default.")
    ] = None,
    target_size: options.TargetSize = None,
    target_bpp: options.TargetBpp = None,
    target_psnr: options.TargetPsnr = None,
    target_ms_ssim: options.TargetMsSsim = None,
    target_ssimulacra2: options.TargetSsimulacra2 = None,
    model: options.ModelName = None,
    adapter: options.Adapters = None,
    roi: Annotated[
        str | None, typer.Option("--roi", help="Region that matters most: a picture, white where it does, or x,y,w,h.")
    ] = None,
    look: options.Look = None,
    set_: options.Set = None,
    codecs: Annotated[
        list[str] | None,
        typer.Option(
            "--codec",
            help=f"A peer, or promptcodec:MODEL+ADAPTER@NAME=VALUE, again for more; {', '.join(DEFAULT_PEERS)}, as far "
            "as installed, by default. vvc takes a minute.",
            autocompletion=completion.codecs,
        ),
    ] = None,
    crop: Annotated[
        str | None, typer.Option("--crop", help="x,y,w,h in pixels; a square with much detail by default.")
    ] = None,
    overwrite: options.Overwrite = False,
    threads: options.Threads = 0,
    as_json: options.Json = False,
) -> None:
    """Encode a photo with every codec at the size of promptcodec's file; print a table and draw a montage."""
    from promptcodec.evaluate.codecs.ours import OurCodec
    from promptcodec.evaluate.compare import compare
    from promptcodec.evaluate.data.datasets import read_picture
    from promptcodec.evaluate.pages.montage import check_crop, most_detailed

    output = output or picture.with_name(f"{picture.stem}-compare.png")
    if output.suffix.lower() != ".png":
        raise UsageError(f"the montage is a PNG, but -o names {output}")
    if output.exists() and not overwrite and not is_stream(output):
        raise UsageError(f"{output} exists; --overwrite replaces it, -o names another")
    if not output.parent.is_dir():
        raise UsageError(f"there is no folder {output.parent} for the montage; make it, or give another -o")
    target = options.one_target(quality, target_size, target_bpp, target_psnr, target_ms_ssim, target_ssimulacra2)
    peers = _peers(options.names_of("--codec", codecs))
    runtime.prepare(threads)
    file = read_picture(picture)
    pixels = file.pixels()
    area = most_detailed(pixels) if crop is None else options.rectangle("--crop", crop)
    check_crop(area, pixels)  # not after a minute of encoding
    mask = None if roi is None else options.mask_of(roi, *pixels.shape[:2])
    controls = dict(options.settings_of(look, set_))
    ours = OurCodec(model, _adapters(model, adapter or (), controls, mask is not None), controls)
    setting = ours.settings[0] if len(ours.settings) == 1 else DEFAULT_QUALITY
    setting = setting if quality is None else quality
    ours.check(setting)
    ours.use_mask(mask)
    if target is not None:
        setting = ours.setting_for(pixels, target)
    contenders = []
    for contender in compare(file, ours, setting, peers, _judge(mask is not None), mask):
        contenders.append(contender)
        if as_json:
            say_record("compare", "measurement", asdict(contender.row))
    _draw(output, file, pixels, contenders, area)
    if not as_json:
        _print(contenders)
        say(f"crops: {output}")


def _adapters(
    model: str | None, named: Sequence[str], controls: Mapping[str, float], region: bool
) -> Sequence[AdapterSource]:
    """Return the adapters that ``encode`` would attach: those named, and of the package what none of them takes."""
    from promptcodec.api import load
    from promptcodec.codec.adapters import Request
    from promptcodec.steer.library import AdapterLibrary

    settings = {name: value for name, value in controls.items() if name != "effort"}
    library, maps = load(model).adapters, {"roi": 1.0} if region else {}
    return library.taking(Request(tuple(named), settings, maps)) if isinstance(library, AdapterLibrary) else named


def _judge(region: bool) -> Judge:
    """Return a judge by SSIMULACRA2, where its package is installed, and within a region."""
    from importlib.util import find_spec

    from promptcodec.evaluate.judge import Judge

    return Judge([*(["ssimulacra2"] if find_spec("ssimulacra2") else []), *(REGION if region else ())])


def _peers(names: list[str]) -> list[EvaluatedCodec]:
    """Return the codecs named, by default those installed, and a line about each that is not."""
    from promptcodec.evaluate.codecs.registry import open_codec

    opened = []
    for name in names or DEFAULT_PEERS:
        try:
            opened.append(open_codec(name))
        except UsageError as error:
            if names:
                raise
            say(f"without {name}: {error}", error=True)
    return opened


def _print(contenders: list[Contender]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from promptcodec.evaluate.metrics import METRICS

    ours = contenders[0].row
    title = Text(printable(f"{ours.picture}, {ours.width}x{ours.height}"))  # no markup in a name
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=0)
    table.add_column("codec", no_wrap=True)
    region = [name for name in REGION if ours.metric(name) is not None]
    heads = {"psnr_inside": "inside", "psnr_outside": "outside"}
    scored = ("psnr", *region, "ms_ssim", "ssimulacra2")
    known = ("PSNR", *(heads[name] for name in region), "MS-SSIM", "SSIMU2")
    for head in ("setting", "bytes", "vs ours", "bpp", *known, "enc s", "dec s"):
        table.add_column(head, justify="right", no_wrap=True)
    for row in (c.row for c in contenders):
        scores = [METRICS[name].text(row.metric(name)) for name in scored]
        more = "" if row is ours else f"{100 * (row.bytes / ours.bytes - 1):+.1f} %"
        times = (f"{row.encode_s:.2f}", f"{row.decode_s:.3f}")
        cells = (f"{row.setting:.4g}", f"{row.bytes:,}", more, f"{row.bpp:.3f}", *scores)
        table.add_row(Text(printable(row.codec)), *cells, *times)
    Console().print(table)


def _draw(output: Path, file: PictureFile, pixels: Pixels, contenders: list[Contender], area: Rect) -> None:
    from promptcodec.evaluate.metrics import METRICS
    from promptcodec.evaluate.pages.montage import Tile, montage
    from promptcodec.system.atomic import atomic_write

    ours = contenders[0].row
    original = (f"{len(file.data):,} bytes", f"{ours.width}x{ours.height} pixels", "")
    tiles = [Tile(pixels, "original", original)]
    for row, decoded in ((c.row, c.pixels) for c in contenders):
        known = [name for name in (*REGION, "ms_ssim", "ssimulacra2") if row.metric(name) is not None]
        structure = [f"{METRICS[name].title} {METRICS[name].text(row.metric(name))}" for name in known]
        lines = (f"{row.bytes:,} bytes, {row.bpp:.3f} bpp", f"PSNR {row.psnr:.2f} dB", *structure)
        tiles.append(Tile(decoded, row.codec, lines, accent=row is ours))
    title = f"{ours.picture} at {ours.bytes:,} bytes"
    page = montage(title, tiles, area)
    with atomic_write(output, overwrite=True) as out:
        page.save(out, "PNG")
