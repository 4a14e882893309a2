"""``promptcodec info``: what a .ptc file holds, without decoding it."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from promptcodec.api import info
from promptcodec.cli.options import Json
from promptcodec.errors import PromptcodecError

Files = Annotated[list[str], typer.Argument(help=".ptc files, or - for standard input.", show_default=False)]


def command(files: Files, as_json: Json = False) -> None:
    """Print size, quality, model and metadata of .ptc files."""
    failed = False
    for name in files:
        try:
            facts = info(sys.stdin.buffer if name == "-" else name)
        except (PromptcodecError, OSError) as error:
            text = getattr(error, "strerror", None) or str(error)
            print(f"promptcodec: {name}: {text}", file=sys.stderr)
            failed = True
            continue
        if as_json:
            print(json.dumps({"file": name} | facts))
        else:
            print(name)
            for key, value in facts.items():
                value = ("; ".join(value) or "none") if isinstance(value, list) else value
                print(f"  {key.replace('_', ' '):<14} {value}")
    sys.exit(1 if failed else 0)
