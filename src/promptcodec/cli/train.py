"""``promptcodec train``: run a recipe, and make a model file of what it reached."""

from __future__ import annotations

import math
import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer

from promptcodec.cli import runtime
from promptcodec.errors import UsageError

RecipeFile = Annotated[Path, typer.Argument(help="A recipe (TOML); recipes/ has examples.", show_default=False)]
Folder = Annotated[Path, typer.Option("-o", "--output", help="Folder for log, checkpoint and model file.")]
Seconds = Annotated[float, typer.Option("--max-seconds", help="Stop, with a checkpoint, after this time.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE (TOML) in place of the recipe's.")]
Data = Annotated[list[str] | None, typer.Option("--data", help="Folders or tar files of pictures.")]
Version = Annotated[str, typer.Option("--model-version", help="Version written into the model file.")]


def command(
    recipe: RecipeFile,
    output: Folder,
    data: Data = None,
    max_seconds: Seconds = math.inf,
    changes: Set = None,
    model_version: Version = "0",
) -> None:
    """Train a model; continues where the folder's checkpoint stopped. Writes model.safetensors at the end."""
    overrides = dict(map(_assignment, changes or []))
    if data:
        overrides["data"] = data
    runtime.prepare(0)
    from promptcodec.train.loop import Trainer
    from promptcodec.train.recipe import Recipe
    from promptcodec.zoo.model_file import save_model

    trainer = Trainer(Recipe.load(recipe, overrides), output)
    if trainer.resume():
        print(f"continuing at {trainer.samples:,} samples")
    trainer.run(max_seconds, _report)
    trainer.model.load_state_dict(trainer.average)
    save_model(trainer.model, output / "model.safetensors", model_version)
    print(f"{output / 'model.safetensors'}: {trainer.samples:,} samples")


def _assignment(text: str) -> tuple[str, Any]:
    try:
        ((key, value),) = tomllib.loads(text).items()
    except (ValueError, tomllib.TOMLDecodeError):
        raise UsageError(f"--set {text}: expected KEY=VALUE as in TOML (strings in quotes)") from None
    return key, value


def _report(row: dict[str, float]) -> None:
    print("  ".join(f"{key} {value:,}" for key, value in row.items()), flush=True)
