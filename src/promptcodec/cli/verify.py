"""``promptcodec verify``: whether .ptc files are whole and decode here, without making pictures."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import typer

from promptcodec.api import model_of, read_bytes
from promptcodec.batch import runtime
from promptcodec.bitstream.container import MAX_PIXELS, unpack
from promptcodec.bitstream.contents import Header, PtcFile
from promptcodec.cli import jobs, options
from promptcodec.cli.decode import MaxPixels
from promptcodec.cli.inputs import find
from promptcodec.cli.streams import binary_input, say, say_record
from promptcodec.errors import ModelMismatchError
from promptcodec.store.shipped import find_model

SOUND, UNCHECKED = "done", "unchecked"

ContainerOnly = Annotated[
    bool, typer.Option("--container", help="Check the container alone: quick, and no model is needed.")
]


@dataclass(frozen=True)
class Settings:
    """What to check, and with what."""

    container: bool
    model: str | None
    device: str
    max_pixels: int | None
    adapters: tuple[str, ...]


def command(
    inputs: options.Inputs,
    recursive: options.Recursive = False,
    container: ContainerOnly = False,
    processes: options.Processes = 1,
    threads: options.Threads = 0,
    device: options.Device = "cpu",
    model: options.ModelName = None,
    max_pixels: MaxPixels = MAX_PIXELS,
    adapter: options.Adapters = None,
    as_json: options.Json = False,
) -> None:
    """Check .ptc files: their structure, and that their latents decode to what was encoded. Writes nothing."""
    planned = [jobs.Job(one.source, "", one.problem) for one in find(inputs, (".ptc",), recursive)]
    if model is not None:
        find_model(model)  # a name that is none is wrong for every file
    settings = Settings(container, model, device, max_pixels or None, tuple(adapter or ()))
    processes = min(processes, len(planned))
    prepare = partial(runtime.prepare, 0 if container else 1 if processes > 1 else threads)
    sys.exit(jobs.run(planned, partial(verify_file, settings), processes, prepare, as_json, _report))


def verify_file(settings: Settings, job: jobs.Job) -> jobs.Outcome:
    """Check one file; raises PromptcodecError or OSError where it is not sound."""
    start = time.perf_counter()
    data = read_bytes(binary_input() if job.source == jobs.PIPE else job.source, settings.max_pixels)
    file = unpack(data, settings.max_pixels)
    if settings.container:
        return _outcome(job, data, file, SOUND, "the container is sound", start)
    try:
        _verify_latents(settings, file.header, data)
    except ModelMismatchError as error:
        return _outcome(
            job, data, file, UNCHECKED, f"the container is sound, its latents were not checked: {error}", start
        )
    return _outcome(job, data, file, SOUND, "sound", start)


def _verify_latents(settings: Settings, header: Header, data: bytes) -> None:
    model = settings.model or str(model_of(header))
    codec = runtime.codec(model, settings.device)
    codec.verify(data, adapters=settings.adapters, max_pixels=settings.max_pixels)


def _outcome(job: jobs.Job, data: bytes, file: PtcFile, status: str, message: str, start: float) -> jobs.Outcome:
    seconds = round(time.perf_counter() - start, 3)
    size = (file.header.width, file.header.height)
    return jobs.Outcome(job.source, "", status, message, len(data), 0, *size, seconds)


def _report(outcome: jobs.Outcome, as_json: bool) -> None:
    name = jobs.display_name(outcome.source)
    if as_json:
        say_record("verify", "file", jobs.record_of("verify", outcome))
    if outcome.status == SOUND:
        if not as_json:
            say(f"{name}: {outcome.message}")
    else:
        say(f"promptcodec: {name}: {outcome.message}", error=True)
