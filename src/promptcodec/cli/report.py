"""``promptcodec report``: packed results as a page with figures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from promptcodec.cli.streams import say


def command(
    folder: Annotated[Path, typer.Argument(help="Folder of packed results (.json).", show_default=False)],
    output: Annotated[Path, typer.Option("-o", "--output", help="The page, Markdown; figures go beside it.")] = Path(
        "results.md"
    ),
    figures: Annotated[bool, typer.Option(help="Draw the figures; else the page alone.")] = True,
) -> None:
    """Render results into a Markdown page: tables, BD-rates and figures, each with the command that makes it."""
    from promptcodec.evaluate.pages.page import render

    written = render(folder, output, figures)
    for path in written:
        say(str(path))
