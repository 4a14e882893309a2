"""Options that several verbs share, and their checks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from promptcodec.cli.jobs import PIPE, Job
from promptcodec.errors import ImageError, UsageError

Inputs = Annotated[list[str], typer.Argument(help="Files, folders, or - for standard input.", show_default=False)]
Output = Annotated[str | None, typer.Option("-o", "--output", help="File, folder, or - for standard output.")]
Recursive = Annotated[bool, typer.Option("-r", "--recursive", help="Search folders below the given ones too.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")]
Processes = Annotated[int, typer.Option("-j", "--jobs", min=1, help="Files to code at once, each on one thread.")]
Threads = Annotated[
    int, typer.Option("--threads", min=0, max=1024, help="Threads for one file; 0 lets torch choose. With -j, one.")
]
Device = Annotated[str, typer.Option("--device", help="cpu, cuda or mps.")]
ModelName = Annotated[str | None, typer.Option("--model", help="A shipped model's name, or a model file.")]
Json = Annotated[bool, typer.Option("--json", help="Print a JSON line a file.")]
Strip = Annotated[bool, typer.Option("--strip", help="Leave out EXIF and XMP metadata.")]


def check_output(job: Job, overwrite: bool) -> None:
    """Raise ImageError where the output exists and may not be replaced."""
    if job.target != PIPE and Path(job.target).exists() and not overwrite:
        raise ImageError(f"{job.target} exists; --overwrite replaces it, --skip-existing leaves it")


def one_choice(overwrite: bool, skip_existing: bool) -> None:
    """Raise UsageError where both are set."""
    if overwrite and skip_existing:
        raise UsageError("--overwrite and --skip-existing exclude each other")
