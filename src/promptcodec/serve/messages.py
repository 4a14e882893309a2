"""Messages between the service and its workers: a JSON object and some byte strings, never pickles.

A worker reads files of strangers. What it answers is data, and can be nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any


class SourceNeededError(Exception):
    """A worker does not have what it may have kept of an earlier job; this one has to come with all blobs."""


@dataclass(frozen=True)
class Message:
    """``facts``: what JSON can say; ``blobs``: bytes by name."""

    facts: dict[str, Any]
    blobs: Mapping[str, bytes] = field(default_factory=dict)


Arguments = dict[str, Any]
Blobs = dict[str, bytes]
Check = Callable[[], None]
"""To be called now and then: raises where nobody waits for the answer any more."""
Operation = Callable[[Arguments, Blobs, Check], Message]
"""Something that a worker can do."""


def send(connection: Connection, message: Message) -> None:
    """Write a message. Raises OSError where the other side is gone."""
    connection.send_bytes(json.dumps([message.facts, list(message.blobs)]).encode())
    for blob in message.blobs.values():
        connection.send_bytes(blob)


def receive(connection: Connection) -> Message:
    """Read a message, waiting for it. Raises EOFError or OSError where the other side is gone."""
    facts, names = json.loads(connection.recv_bytes())
    return Message(facts, {name: connection.recv_bytes() for name in names})
