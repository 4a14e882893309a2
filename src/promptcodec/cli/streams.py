"""The standard streams, whatever state the caller left them in; all that is printed goes through here."""

from __future__ import annotations

import io
import os
import sys
import traceback
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, BinaryIO, TextIO, cast

from promptcodec.errors import UsageError
from promptcodec.system.printable import json_text, printable
from promptcodec.system.special_files import is_terminal

SCHEMA = 1  # of the lines that --json prints; a key that goes or means something else makes it 2
PIPE = "-"  # standard input or output in place of a file's name

_closed: set[str] = set()  # those that the caller closed
_unwritten: list[OSError] = []  # why standard output takes no more reports


def prepare() -> None:
    """Make the standard streams usable: no text fails to be encoded, and none is missing.

    What the caller closed (``>&-``) is replaced by the null device, whose descriptor takes the number of the closed
    one: otherwise the next file to be opened would, and would get what libraries print.
    """
    for name in ("stdin", "stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            _closed.add(name)
            null = open(os.devnull, "r" if name == "stdin" else "w", encoding="utf-8")  # noqa: PTH123, SIM115
            if null.fileno() <= 2:
                os.set_inheritable(null.fileno(), True)  # worker processes get it in their turn
            setattr(sys, name, null)
        elif name != "stdin" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    warnings.showwarning = _show_warning
    sys.excepthook = _show_exception


def counted(count: int, noun: str) -> str:
    """Return a number with its noun, in the plural unless it is one."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def say(line: str = "", *, error: bool = False) -> None:
    """Print a line for people to standard output, or to standard error; what steers terminals in it is escaped.

    A report that cannot be written stops nothing but further ones: ``finish`` tells of it. Raises BrokenPipeError where
    the reader of standard output went away.
    """
    _write(printable(line), error)


def say_record(verb: str, record: str, facts: Mapping[str, Any], *, error: bool = False) -> None:
    """Print a line of JSON for programs: what every line begins with (docs/cli.md), and ``facts`` of a ``record``.

    Raises as ``say`` does.
    """
    _write(json_text({"schema": SCHEMA, "verb": verb, "record": record, **facts}), error)


def finish() -> None:
    """Flush standard output. Raises OSError where a part of what was said could not be written."""
    try:
        sys.stdout.flush()
    except OSError as error:
        abandon()
        _unwritten.append(error)
    if _unwritten:
        first = _unwritten[0]
        _unwritten.clear()
        raise OSError(first.errno, first.strerror, "standard output")


def abandon() -> None:
    """Let what is still buffered for standard output go nowhere: Python would try again, and complain, as it exits."""
    with suppress(OSError, ValueError, io.UnsupportedOperation):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


def binary_input() -> BinaryIO:
    """Return standard input as bytes. Raises UsageError where it is closed."""
    return _binary("stdin", "standard input")


@contextmanager
def binary_output() -> Iterator[BinaryIO]:
    """Yield a file that is written to standard output when the block ends. Raises UsageError where that is closed."""
    stream, whole = _binary("stdout", "standard output"), io.BytesIO()
    yield whole
    try:
        stream.write(whole.getbuffer())
        stream.flush()
    except OSError as error:
        abandon()
        raise OSError(error.errno, error.strerror, "standard output") from None


def refuse_terminal(target: str, force: bool) -> None:
    """Raise UsageError where ``target``, ``-`` among others, is a terminal, which binary data would garble."""
    terminal = sys.stdout.isatty() if target == PIPE else is_terminal(target)
    if terminal and not force:
        name = "standard output" if target == PIPE else target
        raise UsageError(f"{name} is a terminal, and the output binary: give -o a file, redirect it, or --force it")
    if target == PIPE:
        _binary("stdout", "standard output")


def _binary(stream: str, name: str) -> BinaryIO:
    if stream in _closed:
        raise UsageError(f"{name} is closed: name a file instead")
    buffer = getattr(getattr(sys, stream), "buffer", None)
    if buffer is None:
        raise UsageError(f"{name} takes text alone here: name a file instead")
    return cast("BinaryIO", buffer)


def _write(line: str, error: bool) -> None:
    if error:
        with suppress(OSError, ValueError):  # there is nowhere left to say it
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()
        return
    if _unwritten:
        return
    try:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as fault:
        abandon()
        _unwritten.append(fault)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    say(f"promptcodec: {message}", error=True)


def _show_exception(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print the trace of a fault of ours: its text may quote a file."""
    for line in "".join(traceback.format_exception(kind, error, trace)).splitlines():
        say(line, error=True)
