"""``promptcodec train``: run a recipe or the queue's next one, and make a model file of what it reached."""

from __future__ import annotations

import math
import time
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from promptcodec.cli import runtime
from promptcodec.cli.streams import say
from promptcodec.errors import UsageError

if TYPE_CHECKING:
    from promptcodec.train.loop import Trainer
    from promptcodec.train.queue import QueuedRun

RecipeFile = Annotated[Path | None, typer.Argument(help="A recipe (TOML); recipes/ has examples.", show_default=False)]
Folder = Annotated[
    Path | None,
    typer.Option("-o", "--output", help="Folder for log, checkpoint and model file; with --next, for all runs."),
]
Seconds = Annotated[float, typer.Option("--max-seconds", help="Stop, with a checkpoint, after this time.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE (TOML) in place of the recipe's.")]
Data = Annotated[list[str] | None, typer.Option("--data", help="Folders or tar files of pictures.")]
Device = Annotated[str | None, typer.Option("--device", help="cpu, cuda or mps in place of the recipe's.")]
Portable = Annotated[
    Path | None,
    typer.Option("--portable", help="Folder for a copy in parts of 16 MiB at most; started from if it has one."),
]
Next = Annotated[bool, typer.Option("--next", help="Do the queue's first open run, then the next, until time is up.")]
Queue = Annotated[Path, typer.Option("--queue", help="The queue of --next.")]
Version = Annotated[str, typer.Option("--model-version", help="Version written into the model file.")]


def command(
    recipe: RecipeFile = None,
    output: Folder = None,
    data: Data = None,
    device: Device = None,
    max_seconds: Seconds = math.inf,
    changes: Set = None,
    portable: Portable = None,
    next_: Next = False,
    queue: Queue = Path("training/queue.toml"),
    model_version: Version = "0",
) -> None:
    """Train a model; goes on where its checkpoint stopped. Writes model.safetensors or adapter.safetensors."""
    overrides = dict(map(_assignment, changes or []))
    if data:
        overrides["data"] = data
    if device:
        overrides["device"] = device
    runtime.prepare(0)
    if next_:
        if recipe is not None:
            raise UsageError("--next takes its recipes from the queue: leave out either it or the recipe")
        _run_queue(queue, output or Path("runs"), overrides, portable, max_seconds, model_version)
        return
    if recipe is None or output is None:
        raise UsageError("give a recipe and --output FOLDER, or --next")
    from promptcodec.train.loop import Trainer
    from promptcodec.train.recipe import Recipe
    from promptcodec.train.run.distributed import World

    trainer = Trainer(Recipe.load(recipe, overrides), output, portable, World.join(), say)
    trainer.say(trainer.begin())
    _sit(trainer, max_seconds, model_version)


def _sit(trainer: Trainer, max_seconds: float, version: str) -> None:
    """Continue a run, and leave its model file, or its adapter's, or both."""
    from promptcodec.steer.adapter_file import save_adapter
    from promptcodec.store.model_file import save_model
    from promptcodec.train.run.progress import line

    trainer.run(max_seconds, lambda row: say(line(row)))
    if trainer.world.leads:
        made, base, adapter = [], trainer.averaged(), trainer.averaged_adapter()
        if trainer.recipe.train != "adapter":
            made.append(trainer.folder / "model.safetensors")
            save_model(base, made[-1], version)
        if adapter is not None:
            made.append(trainer.folder / "adapter.safetensors")
            save_adapter(adapter, base, made[-1])
        say(f"{', '.join(map(str, made))}: {trainer.samples:,} samples")


def _run_queue(
    queue: Path, runs: Path, overrides: dict[str, Any], portable: Path | None, max_seconds: float, version: str
) -> None:
    """Go through the open runs until the time is up; each leaves a row in the ledger beside the queue."""
    from promptcodec.train.loop import Trainer
    from promptcodec.train.queue import mark_done, ready_run
    from promptcodec.train.run.distributed import World

    world, end = World.join(), time.monotonic() + max_seconds
    said: set[str] = set()
    while time.monotonic() < end:
        run, waiting = world.from_leader(ready_run(queue, runs, overrides) if world.leads else None)
        for reason in waiting:
            if world.leads and reason not in said:
                say(f"left for later: {reason}")
            said.add(reason)
        if run is None:
            say("the queue is done")
            return
        copy = portable / run.name if portable else None
        trainer = Trainer(run.load(runs, overrides), runs / run.name, copy, world, say)
        trainer.say(f"{run.name}: {trainer.begin()}")
        allowed = 60 * run.minutes if run.minutes else math.inf
        before = (trainer.seconds, trainer.samples)
        left = world.from_leader(min(end - time.monotonic(), allowed - trainer.seconds))
        _sit(trainer, left, version)
        done = world.from_leader(trainer.samples >= trainer.recipe.samples or trainer.seconds >= allowed - 1)
        if world.leads:
            _record(queue, run, trainer, before)
            if done:
                mark_done(queue, run.name)
        if not done:
            return


def _record(queue: Path, run: QueuedRun, trainer: Trainer, before: tuple[float, int]) -> None:
    from promptcodec.train import ledger

    curve = ", ".join(f"{row['bpp']:.3f} bpp {row['psnr']:.2f} dB" for row in trainer.validation)
    row = {
        "date": ledger.today(), "run": run.name, "recipe": run.recipe.name, "commit": ledger.commit(queue.parent),
        "hardware": ledger.hardware(trainer.device, trainer.world.size),
        "minutes": f"{(trainer.seconds - before[0]) / 60:.1f}", "samples": f"{before[1]:,} to {trainer.samples:,}",
        "validation": curve or "–", "weights": f"{trainer.folder}",
    }  # fmt: skip
    ledger.add_row(queue.parent / "LEDGER.md", row)


def _assignment(text: str) -> tuple[str, Any]:
    try:
        ((key, value),) = tomllib.loads(text).items()
    except (ValueError, tomllib.TOMLDecodeError):
        raise UsageError(f"--set {text}: expected KEY=VALUE as in TOML (strings in quotes)") from None
    return key, value
