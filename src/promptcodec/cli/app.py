"""The application: registers the verbs, and turns errors into one line and an exit code."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import promptcodec
from promptcodec.cli import (
    batch,
    bench,
    compare,
    curves,
    decode,
    doctor,
    encode,
    import_,
    info,
    maps,
    models,
    plot,
    profile,
    serve,
    streams,
    train,
    verify,
)
from promptcodec.cli import eval as evaluation
from promptcodec.errors import PromptcodecError, UsageError
from promptcodec.system.printable import printable


class _Group(TyperGroup):
    """The verbs, whose parsers quote what was typed, or what a shell put in place of a ``*``."""

    def make_context(self, *args: Any, **extra: Any) -> Any:
        with _quoted():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: Any) -> Any:
        with _quoted():
            return super().invoke(ctx)


@contextmanager
def _quoted() -> Iterator[None]:
    try:
        yield
    except Exception as error:  # a class that typer took from click, or from its own copy of it
        if isinstance(message := getattr(error, "message", None), str):
            error.message = "\n".join(map(printable, message.splitlines()))  # type: ignore[attr-defined]
        raise


app = typer.Typer(
    name="promptcodec",
    cls=_Group,
    help="A learned image codec: photos to .ptc files and back.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
VERBS: dict[str, dict[str, Callable[..., None] | typer.Typer]] = {
    "Files": {
        "encode": encode.command,
        "decode": decode.command,
        "info": info.command,
        "verify": verify.command,
        "compare": compare.command,
        "models": models.command,
        "serve": serve.command,
        "doctor": doctor.command,
        "batch": batch.app,
    },
    "Research": {
        "train": train.command,
        "eval": evaluation.command,
        "plot": plot.command,
        "bench": bench.command,
        "profile": profile.command,
        "maps": maps.command,
        "curves": curves.command,
        "import": import_.command,
    },
}
"""The verbs as ``--help`` groups them."""

for _group, _verbs in VERBS.items():
    for _name, _command in _verbs.items():
        if isinstance(_command, typer.Typer):
            app.add_typer(_command, name=_name, rich_help_panel=_group)
        else:
            app.command(_name, rich_help_panel=_group)(_command)


def _version(show: bool) -> None:
    if show:
        streams.say(f"promptcodec {promptcodec.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Take the options before any verb."""


def main() -> None:
    """Run the command line. Exit codes: 0 all done, 1 something failed, 2 the command line makes no sense."""
    signal.signal(signal.SIGINT, _interrupt)
    signal.signal(signal.SIGTERM, _interrupt)
    streams.prepare()
    try:
        try:
            app()
        finally:
            streams.finish()
    except UsageError as error:
        _fail(error, 2)
    except BrokenPipeError:  # the reader of our output went away
        os._exit(1)
    except PromptcodecError as error:
        _fail(error, 1)
    except OSError as error:
        where = "" if error.filename is None else f"{error.filename}: "
        _fail(f"{where}{error.strerror or error}", 1)
    except Interrupted:
        _fail("interrupted", 1)


class Interrupted(BaseException):
    """Ctrl-C or SIGTERM: unwinds like KeyboardInterrupt, so that temporary files go, but is nobody else's to catch."""


def _interrupt(*_: object) -> None:
    raise Interrupted


def _fail(message: object, code: int) -> None:
    streams.say(f"promptcodec: {message}", error=True)
    sys.exit(code)
