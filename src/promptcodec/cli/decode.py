"""``promptcodec decode``: .ptc files to pictures."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from promptcodec.batch import runtime
from promptcodec.batch.settings import DecodeSettings
from promptcodec.bitstream.container import MAX_PIXELS
from promptcodec.cli import jobs, options, streams
from promptcodec.errors import UsageError
from promptcodec.system.atomic import atomic_write
from promptcodec.system.special_files import is_stream

Skip = Annotated[bool, typer.Option("--skip-existing", help="Leave outputs that are newer than their .ptc file.")]
Format = Annotated[
    str | None, typer.Option("--format", help="png, jpg, webp … for folders and pipes; else the output's extension.")
]
Crop = Annotated[str | None, typer.Option("--crop", help="x,y,w,h in pixels: only the tiles there are decoded.")]
Preview = Annotated[
    bool, typer.Option("--preview", help="The picture in small, from the first part of the file where it has one.")
]
MaxPixels = Annotated[
    int, typer.Option("--max-pixels", min=0, help="Refuse pictures of more pixels; 0 trusts the file.")
]


@dataclass(frozen=True)
class Settings:
    """How to decode and write. ``format``: None leaves it to the output's name."""

    coding: DecodeSettings
    format: str | None
    overwrite: bool
    skip_existing: bool


def command(
    inputs: options.Inputs,
    output: options.Output = None,
    format: Format = None,
    recursive: options.Recursive = False,
    overwrite: options.Overwrite = False,
    force: options.Force = False,
    skip_existing: Skip = False,
    strip: options.Strip = False,
    processes: options.Processes = 1,
    threads: options.Threads = 0,
    device: options.Device = "cpu",
    model: options.ModelName = None,
    max_pixels: MaxPixels = MAX_PIXELS,
    crop: Crop = None,
    preview: Preview = False,
    precision: options.Precise = "float32",
    adapter: options.Adapters = None,
    look: options.Look = None,
    set_: options.Set = None,
    as_json: options.Json = False,
) -> None:
    """Decode .ptc files to pictures, PNG unless told otherwise."""
    options.one_choice(overwrite, skip_existing)
    suffix = "." + (format or "png").lower().lstrip(".")
    check_writable(suffix)
    planned = jobs.plan(inputs, output, suffix, (".ptc",), recursive)
    if output not in (None, jobs.PIPE) and len(planned) == 1 and planned[0].target == output and format is None:
        check_writable("." + (_format_of(planned[0].target) or Path(str(output)).suffix.lstrip(".")))
    for job in planned:
        streams.refuse_terminal(job.target, force)
    scalars = options.settings_of(look, set_)
    coding = DecodeSettings(
        suffix, model, strip, device, max_pixels or None, tuple(adapter or ()), scalars,
        None if crop is None else options.rectangle("--crop", crop), preview, precision,
    )  # fmt: skip
    settings = Settings(coding, format, overwrite, skip_existing)
    if preview and (crop is not None or adapter or scalars):
        raise UsageError("--preview shows the picture in small as the base codec does: no --crop, --adapter, --set")
    processes = min(processes, len(planned))
    prepare = partial(runtime.prepare, 1 if processes > 1 else threads)
    sys.exit(
        jobs.run(planned, partial(decode_file, settings), processes, prepare, as_json, partial(jobs.report, "decode"))
    )


def decode_file(settings: Settings, job: jobs.Job) -> jobs.Outcome:
    """Decode one file; raises PromptcodecError or OSError, and then leaves no output."""
    from promptcodec.picture.write import write

    start = time.perf_counter()
    if settings.skip_existing and _newer(job):
        return jobs.Outcome(job.source, job.target, "skipped")
    options.check_output(job, settings.overwrite or settings.skip_existing)
    picture, size = settings.coding.decode(
        streams.binary_input() if job.source == jobs.PIPE else job.source, jobs.part_done
    )
    name = settings.format or _format_of(job.target)
    if job.target == jobs.PIPE:
        with streams.binary_output() as file:
            write(picture, file, format=name)
            written = file.seek(0, os.SEEK_END)
    elif is_stream(job.target):
        with atomic_write(Path(job.target)) as file:
            write(picture, file, format=name)
            written = file.seek(0, os.SEEK_END)
    else:
        Path(job.target).parent.mkdir(parents=True, exist_ok=True)
        write(picture, Path(job.target), format=name)
        written = Path(job.target).stat().st_size
    height, width = picture.rgb.shape[:2]
    seconds = round(time.perf_counter() - start, 3)
    return jobs.Outcome(job.source, job.target, "done", "", size, written, width, height, seconds)


def _format_of(target: str) -> str | None:
    """Return the format of a pipe or a device: PNG where it bears no extension. None for all else."""
    stream = target == jobs.PIPE or is_stream(target)
    return (Path(target).suffix.lstrip(".") or "png") if stream else None


def _newer(job: jobs.Job) -> bool:
    if jobs.PIPE in (job.source, job.target) or not Path(job.target).is_file():
        return False
    return Path(job.target).stat().st_mtime >= Path(job.source).stat().st_mtime


def check_writable(suffix: str) -> None:
    """Raise UsageError for extensions that Pillow does not write."""
    from PIL import Image

    Image.init()
    name = Image.registered_extensions().get(suffix.lower())
    if name is None or name not in Image.SAVE:
        raise UsageError(f"Pillow writes no {suffix or 'file without an extension'}; try .png, .jpg, .webp or .tiff")
