"""``promptcodec import``: checkpoints of the papers' own code to our model and adapter files."""

from __future__ import annotations

from typing import Annotated

import typer

from promptcodec.cli.streams import say
from promptcodec.system.printable import valid_unicode

Checkpoint = Annotated[str, typer.Argument(help="A checkpoint (.pth.tar, .pth, .safetensors).", show_default=False)]
Target = Annotated[
    str, typer.Option("-o", "--output", help="The model file to write (.safetensors).", show_default=False)
]
Source = Annotated[str, typer.Option("--from", help="transtic, kao, tic, tic-cam or song.", show_default=False)]
Name = Annotated[str, typer.Option("--name", help="What the model and its adapter are called.")]


def command(checkpoint: Checkpoint, output: Target, source: Source, name: Name = "") -> None:
    """Import a published checkpoint: a base, and an adapter file beside it where there are prompts."""
    from promptcodec.importers.checkpoint import import_checkpoint

    for path in import_checkpoint(source, checkpoint, output, valid_unicode(name)):
        say(str(path))
