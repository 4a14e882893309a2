"""The application: registers the verbs, and turns errors into one line and an exit code."""

from __future__ import annotations

import os
import signal
import sys
from typing import Annotated

import typer

import promptcodec
from promptcodec.cli import (
    bench,
    compare,
    curves,
    decode,
    encode,
    import_,
    info,
    maps,
    models,
    plot,
    profile,
    report,
    train,
    verify,
)
from promptcodec.cli import eval as evaluation
from promptcodec.errors import PromptcodecError, UsageError

app = typer.Typer(
    name="promptcodec",
    help="A learned image codec: photos to .ptc files and back.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("encode")(encode.command)
app.command("decode")(decode.command)
app.command("info")(info.command)
app.command("verify")(verify.command)
app.command("import")(import_.command)
app.command("models")(models.command)
app.command("eval")(evaluation.command)
app.command("compare")(compare.command)
app.command("curves")(curves.command)
app.command("plot")(plot.command)
app.command("report")(report.command)
app.command("bench")(bench.command)
app.command("profile")(profile.command)
app.command("maps")(maps.command)
app.command("train")(train.command)


def _version(show: bool) -> None:
    if show:
        print(f"promptcodec {promptcodec.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options before any verb."""


def main() -> None:
    """Entry point. Exit codes: 0 all done, 1 something failed, 2 the command line makes no sense."""
    signal.signal(signal.SIGINT, _interrupt)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        app()
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
    print(f"promptcodec: {message}", file=sys.stderr)
    sys.exit(code)
