"""``promptcodec info``: what a .ptc file holds, without decoding it."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Annotated

import typer

from promptcodec.api import info
from promptcodec.cli import streams
from promptcodec.cli.options import Json
from promptcodec.errors import PromptcodecError

Files = Annotated[list[str], typer.Argument(help=".ptc files, or - for standard input.", show_default=False)]


def command(files: Files, as_json: Json = False) -> None:
    """Print size, quality, model and metadata of .ptc files."""
    failed = False
    for name in files:
        try:
            facts = asdict(info(streams.binary_input() if name == streams.PIPE else name))
        except (PromptcodecError, OSError) as error:
            text = getattr(error, "strerror", None) or str(error)
            streams.say(f"promptcodec: {name}: {text}", error=True)
            if as_json:
                streams.say_record("info", "file", {"file": name, "status": "failed", "message": text})
            failed = True
            continue
        if as_json:
            streams.say_record("info", "file", {"file": name, "status": "done", "message": ""} | facts)
        else:
            streams.say(name)
            for key, value in facts.items():
                value = ("; ".join(value) or "none") if isinstance(value, tuple) else value
                streams.say(f"  {key.replace('_', ' '):<14} {value}")
    sys.exit(1 if failed else 0)
