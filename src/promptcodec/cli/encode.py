"""``promptcodec encode``: pictures to .ptc files."""

from __future__ import annotations

import hashlib
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from promptcodec.batch import runtime
from promptcodec.batch.settings import EncodeSettings
from promptcodec.bitstream.container import SIGNATURE, unpack
from promptcodec.cli import jobs, options, streams
from promptcodec.errors import PromptcodecError, UsageError
from promptcodec.model.effort import effort_of
from promptcodec.picture.extensions import picture_extensions
from promptcodec.system.atomic import atomic_write

Quality = Annotated[
    float | None,
    typer.Option("-q", "--quality", min=0, max=100, help="0 (smallest) to 100 (best).", show_default="50"),
]
Roi = Annotated[
    str | None,
    typer.Option("--roi", help="Region that matters most: a grey picture of any size, white matters, or x,y,w,h."),
]
Preview = Annotated[
    bool | None,
    typer.Option("--preview/--no-preview", help="Store the picture in small in front; by default where tiles are."),
]
Verify = Annotated[
    bool | None,
    typer.Option(
        "--verify/--no-verify", help="Decode each file's latents before it gets its name; by default in batches."
    ),
]
Skip = Annotated[
    bool,
    typer.Option("--skip-existing", help="Leave outputs that were made from the same picture and settings."),
]


@dataclass(frozen=True)
class Settings:
    """How to encode, and what to do about outputs that exist. ``stamped``: each file says what it was made from."""

    coding: EncodeSettings
    overwrite: bool
    skip_existing: bool
    stamped: bool


def command(
    inputs: options.Inputs,
    output: options.Output = None,
    quality: Quality = None,
    effort: options.Effort = 0,
    target_size: options.TargetSize = None,
    target_bpp: options.TargetBpp = None,
    target_psnr: options.TargetPsnr = None,
    target_ms_ssim: options.TargetMsSsim = None,
    target_ssimulacra2: options.TargetSsimulacra2 = None,
    recursive: options.Recursive = False,
    overwrite: options.Overwrite = False,
    force: options.Force = False,
    skip_existing: Skip = False,
    strip: options.Strip = False,
    memory: options.Memory = "1GiB",
    preview: Preview = None,
    verify: Verify = None,
    precision: options.Precise = "float32",
    processes: options.Processes = 1,
    threads: options.Threads = 0,
    device: options.Device = "cpu",
    model: options.ModelName = None,
    adapter: options.Adapters = None,
    roi: Roi = None,
    map_: options.Maps = None,
    look: options.Look = None,
    set_: options.Set = None,
    as_json: options.Json = False,
) -> None:
    """Compress pictures into .ptc files."""
    options.one_choice(overwrite, skip_existing)
    if output is not None and output != jobs.PIPE and Path(output).suffix.lower() in picture_extensions():
        raise UsageError(f"encode writes .ptc files, but -o names {output}; `promptcodec decode` writes pictures")
    target = options.one_target(quality, target_size, target_bpp, target_psnr, target_ms_ssim, target_ssimulacra2)
    planned = jobs.plan(inputs, output, ".ptc", picture_extensions(), recursive, name_others=(".ptc",))
    for job in planned:
        streams.refuse_terminal(job.target, force)
    # A batch may be cut off and continued, so its files say what they were made from; a single file stays small.
    stamped = skip_existing or len(planned) > 1
    batch = len(planned) > 1 or recursive or processes > 1
    scalars = options.settings_of(look, set_)
    coding = EncodeSettings(
        quality, target, model, strip, device, tuple(adapter or ()), scalars, options.maps_of(roi, map_),
        effort_of(effort).level, int(options.parse_size(memory)), preview, precision,
        batch if verify is None else verify,
    )  # fmt: skip
    settings = Settings(coding, overwrite, skip_existing, stamped)
    processes = min(processes, len(planned))
    prepare = partial(runtime.prepare, 1 if processes > 1 else threads)
    sys.exit(
        jobs.run(planned, partial(encode_file, settings), processes, prepare, as_json, partial(jobs.report, "encode"))
    )


def encode_file(settings: Settings, job: jobs.Job) -> jobs.Outcome:
    """Encode one picture; raises PromptcodecError or OSError, and then leaves no output."""
    start = time.perf_counter()
    data = _source(job)
    digest, size_in = _measured(data)
    stamp = settings.coding.stamp(digest)
    if settings.skip_existing and _up_to_date(job, stamp):
        return jobs.Outcome(job.source, job.target, "skipped", bytes_in=size_in)
    options.check_output(job, settings.overwrite or (settings.skip_existing and _is_ours(job.target)))
    coded = settings.coding.encode(data, stamp if settings.stamped else None, jobs.part_done)
    if job.target == jobs.PIPE:
        with streams.binary_output() as file:
            file.write(coded)
    else:
        Path(job.target).parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(Path(job.target), overwrite=settings.overwrite or settings.skip_existing) as file:
            file.write(coded)
    from promptcodec.api import info

    facts = info(coded)
    seconds = time.perf_counter() - start
    size = (facts.width, facts.height)
    return jobs.Outcome(job.source, job.target, "done", "", size_in, len(coded), *size, round(seconds, 3))


def _source(job: jobs.Job) -> bytes | Path:
    """Return a file as its path: its bytes need not stay beside the picture. What can be read but once as its bytes."""
    if job.source == jobs.PIPE:
        return streams.binary_input().read()
    path = Path(job.source)
    return path.read_bytes() if path.is_fifo() or path.is_char_device() else path


def _measured(data: bytes | Path) -> tuple[bytes, int]:
    """Return the SHA-256 and size of a picture's bytes."""
    if isinstance(data, bytes):
        return hashlib.sha256(data).digest(), len(data)
    with data.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest(), data.stat().st_size


def _up_to_date(job: jobs.Job, stamp: bytes) -> bool:
    if job.target == jobs.PIPE or not Path(job.target).is_file():
        return False
    try:
        return unpack(Path(job.target).read_bytes()).metadata.source_hash == stamp
    except PromptcodecError:  # whatever stands there is not the file we would write
        return False


def _is_ours(target: str) -> bool:
    """Return whether a .ptc file stands there: what else bears the name is not ours to replace."""
    if not Path(target).is_file():
        return False
    with Path(target).open("rb") as file:
        return file.read(len(SIGNATURE)) == SIGNATURE
