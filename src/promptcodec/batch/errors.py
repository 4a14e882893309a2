"""What ends a shard or a job, and every error as one line."""

from __future__ import annotations

import re

from promptcodec.errors import PromptcodecError
from promptcodec.system.memory import is_lack_of_memory

# What Pillow says of each bad tag in metadata.
DIRECTORY_NOISE = re.compile("Possibly corrupt EXIF|Corrupt EXIF|Metadata Warning|Tag data larger|Tag offset too large")


class StoppedError(Exception):
    """The job is being stopped, and this shard dropped."""


def explain(error: Exception, source: str = "") -> str:
    """One line for people on why a picture failed; ``source``: its name, which they know already."""
    text = " ".join(str(error).split())
    if isinstance(error, PromptcodecError):
        return text
    if isinstance(error, OSError):
        where = f": {error.filename}" if error.filename not in (None, source) else ""
        return (error.strerror + where) if error.strerror else text
    if is_lack_of_memory(error):
        return "not enough memory for this picture"
    return f"unexpected {type(error).__name__}: {text}; please report it with the file"
