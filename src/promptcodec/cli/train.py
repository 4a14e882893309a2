"""``promptcodec train``: run a recipe, and make a model file of what it reached."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from promptcodec.batch import runtime
from promptcodec.cli.streams import say
from promptcodec.errors import UsageError

RecipeFile = Annotated[Path, typer.Argument(help="A recipe (TOML); recipes/ has examples.", show_default=False)]
Folder = Annotated[
    Path, typer.Option("-o", "--output", help="Folder for log, checkpoint and model file.", show_default=False)
]
Seconds = Annotated[float, typer.Option("--max-seconds", help="Stop, with a checkpoint, after this time.")]
With = Annotated[
    list[str] | None,
    typer.Option("--with", help="KEY=VALUE or SECTION.KEY=VALUE (TOML) in place of the recipe's, again for more."),
]
Set = Annotated[list[str] | None, typer.Option("--set", hidden=True)]  # said to be what it is not
Data = Annotated[list[str] | None, typer.Option("--data", help="Folder or tar file of pictures, again for more.")]
Device = Annotated[str | None, typer.Option("--device", help="cpu, cuda or mps in place of the recipe's.")]
Portable = Annotated[
    Path | None,
    typer.Option("--portable", help="Folder for a copy in parts of 16 MiB at most; started from if it has one."),
]
Version = Annotated[str, typer.Option("--model-version", help="Version written into the model file.")]


def command(
    recipe: RecipeFile,
    output: Folder,
    data: Data = None,
    device: Device = None,
    max_seconds: Seconds = math.inf,
    changes: With = None,
    set_: Set = None,
    portable: Portable = None,
    model_version: Version = "0",
) -> None:
    """Train a model; goes on where its checkpoint stopped. Writes model.safetensors or adapter.safetensors."""
    if set_:
        raise UsageError(
            f"--set is for the settings of adapters (encode, decode); a recipe's value is changed by --with {set_[0]}"
        )
    runtime.prepare(0)
    from promptcodec.train.build import build_trainer
    from promptcodec.train.recipe_file import load_recipe, merge_values, parse_changes
    from promptcodec.train.results import save_results
    from promptcodec.train.run.distributed import World
    from promptcodec.train.run.progress import line

    options = {key: value for key, value in (("data", data), ("device", device)) if value}
    values = merge_values(parse_changes(changes or []), options)
    trainer = build_trainer(load_recipe(recipe, values), output, portable, World.join())
    trainer.run.say(trainer.begin())
    trainer.train(max_seconds, lambda row: say(line(row)))
    if trainer.world.leads:
        files = save_results(trainer, model_version)
        say(f"{', '.join(map(str, files))}: {trainer.samples:,} samples")
