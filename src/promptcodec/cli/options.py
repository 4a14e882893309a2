"""Options that several verbs share, and their checks."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from promptcodec.bitstream.tiling import Rect
from promptcodec.cli import completion
from promptcodec.cli.jobs import PIPE, Job
from promptcodec.codec import search
from promptcodec.errors import ImageError, UsageError
from promptcodec.system.special_files import is_stream

if TYPE_CHECKING:
    from promptcodec.quality.pixels import Mask

Inputs = Annotated[list[str], typer.Argument(help="Files, folders, or - for standard input.", show_default=False)]
Output = Annotated[str | None, typer.Option("-o", "--output", help="File, folder, or - for standard output.")]
Recursive = Annotated[bool, typer.Option("-r", "--recursive", help="Search folders below the given ones too.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")]
Force = Annotated[bool, typer.Option("-f", "--force", help="Write binary output to a terminal too.")]
Processes = Annotated[int, typer.Option("-j", "--jobs", min=1, help="Files to code at once, each on one thread.")]
Threads = Annotated[
    int, typer.Option("--threads", min=0, max=1024, help="Threads for one file; 0 lets torch choose. With -j, one.")
]
Device = Annotated[str, typer.Option("--device", help="cpu, cuda or mps.")]
ModelName = Annotated[
    str | None,
    typer.Option("--model", help="A shipped model's name, or a model file.", autocompletion=completion.models),
]
Precise = Annotated[
    Literal["float32", "bfloat16", "auto"],
    typer.Option("--precision", help="Of the networks; auto: bfloat16 where that is quicker here."),
]
Families = Annotated[
    list[str] | None,
    typer.Option(
        "--family",
        help="NAME=PATTERN: codecs of the results that are one curve together, such as one adapter for each rate; a"
        " pattern (* and ?) of their names, again for more.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, a record a line (docs/cli.md).")]
Adapters = Annotated[
    list[str] | None,
    typer.Option(
        "--adapter",
        help="An adapter's name or file; again for more, in their order.",
        autocompletion=completion.adapters,
    ),
]
Look = Annotated[
    float | None,
    typer.Option("--look", min=0, max=1, help="0 true to the pixels, 1 best to look at."),
]
Set = Annotated[list[str] | None, typer.Option("--set", help="NAME=VALUE, 0 to 1, for an adapter that takes it.")]
Maps = Annotated[
    list[str] | None,
    typer.Option("--map", help="NAME=MAP for an adapter that takes it: a grey picture, x,y,w,h, or a number."),
]
Effort = Annotated[
    float,  # what is not whole is refused in our own words
    typer.Option("--effort", metavar="0..10", help="What may be spent: 0 the quickest, 10 the smallest file."),
]
TargetSize = Annotated[
    str | None, typer.Option("--target-size", help="Largest size of the file: bytes, or such as 40k, 1.5M, 64KiB.")
]
TargetBpp = Annotated[float | None, typer.Option("--target-bpp", help="Most bits per pixel.")]
TargetPsnr = Annotated[float | None, typer.Option("--target-psnr", help="Least PSNR in dB.")]
TargetMsSsim = Annotated[float | None, typer.Option("--target-ms-ssim", help="Least MS-SSIM, 0 to 1.")]
TargetSsimulacra2 = Annotated[
    float | None, typer.Option("--target-ssimulacra2", help="Least SSIMULACRA2, 0 to 100; 90: hardly visible.")
]
Memory = Annotated[
    str, typer.Option("--memory", help="For the networks, such as 512M or 2G: larger pictures are coded in tiles.")
]
Strip = Annotated[bool, typer.Option("--strip", help="Leave out EXIF and XMP metadata.")]


def check_output(job: Job, overwrite: bool) -> None:
    """Raise ImageError where the output exists and may not be replaced."""
    if job.target != PIPE and not overwrite and Path(job.target).exists() and not is_stream(job.target):
        raise ImageError(f"{job.target} exists; --overwrite replaces it, --skip-existing leaves it")


def one_choice(overwrite: bool, skip_existing: bool) -> None:
    """Raise UsageError where both are set."""
    if overwrite and skip_existing:
        raise UsageError("--overwrite and --skip-existing exclude each other")


def settings_of(look: float | None, assignments: list[str] | None) -> tuple[tuple[str, float], ...]:
    """Collect the values of --look and --set by name. Raises UsageError for what is no NAME=VALUE with a number."""
    settings = {} if look is None else {"look": look}
    for assignment in assignments or ():
        name, equals, value = assignment.partition("=")
        try:
            settings[name.strip()] = float(value)
        except ValueError:
            equals = ""
        if not equals or not name.strip():
            raise UsageError(f"--set takes NAME=VALUE with a number, not {assignment!r}")
    return tuple(sorted(settings.items()))


def maps_of(roi: str | None, assignments: list[str] | None) -> tuple[tuple[str, str], ...]:
    """Collect the maps of --roi and --map by name. Raises UsageError for what is no NAME=MAP."""
    maps = {} if roi is None else {"roi": roi}
    for assignment in assignments or ():
        name, equals, value = assignment.partition("=")
        if not equals or not name.strip() or not value.strip():
            raise UsageError(f"--map takes NAME=MAP, a grey picture, x,y,w,h or a number, not {assignment!r}")
        maps[name.strip()] = value.strip()
    return tuple(sorted(maps.items()))


def mask_of(roi: str, height: int, width: int) -> Mask:
    """Return a region, a picture's path or x,y,w,h, as a mask (height, width). Raises UsageError and ImageError."""
    import numpy as np

    from promptcodec.steer.controls import region_map

    return (255 * region_map(roi, height, width)[0, 0].numpy()).round().astype(np.uint8)


def names_of(option: str, values: Iterable[str] | None) -> list[str]:
    """Return the values of an option that is given again for each, every one once, in their order.

    Raises UsageError for a list with commas, unless a file is called so.
    """
    names = dict.fromkeys(name for value in values or () if (name := value.strip()))
    for name in names:
        if "," in name and not Path(name).exists():
            again = " ".join(f"{option} {part.strip()}" for part in name.split(",") if part.strip())
            raise UsageError(f"{option} takes one value, and is given again for each: {again or option}, not {name!r}")
    return list(names)


def rectangle(option: str, text: str) -> Rect:
    """Read ``x,y,w,h``, a part of a picture. Raises UsageError for anything else."""
    rect = Rect.parse(text)
    if rect is None or min(rect.left, rect.top) < 0 or min(rect.width, rect.height) < 1:
        raise UsageError(f"{option} takes x,y,w,h in pixels, such as 100,50,640,480, not {text!r}")
    return rect


def one_target(
    quality: float | None, size: str | None, bpp: float | None, psnr: float | None, ms_ssim: float | None,
    ssimulacra2: float | None,
) -> search.Target | None:  # fmt: skip
    """Return the target among these options, None where none is given. Raises UsageError for several, and for one
    beside a quality.
    """
    target = search.one_target(None if size is None else parse_size(size), bpp, psnr, ms_ssim, ssimulacra2)
    if target is not None and quality is not None:
        raise UsageError(f"--quality and a target {target.name} exclude each other")
    return target


def parse_size(text: str) -> float:
    """Return the bytes in ``40000``, ``40k``, ``1.5M``, ``40kB``, ``64KiB`` or ``2G``. Raises UsageError."""
    match = re.fullmatch(r"([0-9]*\.?[0-9]+)\s*([kKmMgG]?)(i?)[bB]?", text.strip())
    if not match or (match[3] and not match[2]):
        raise UsageError(f"a size is a number of bytes such as 40000, 40k, 1.5M or 64KiB, not {text!r}")
    unit = 1024 if match[3] else 1000
    return float(match[1]) * float(unit ** " kmg".index(match[2].lower() or " "))
