"""Connections that may not stand idle: a client that sends a header slowly, or does not read its answer, is left."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


class BoundedProtocol(H11Protocol):
    """HTTP/1.1 in which a header comes within ``seconds``, and answers are read on within ``seconds`` each time.

    Bodies are timed where they are read, see ``bodies``.
    """

    seconds = 10.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._header: asyncio.TimerHandle | None = None
        self._reading: asyncio.TimerHandle | None = None
        self._time_header()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._time_header()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        for timer in (self._header, self._reading):
            if timer is not None:
                timer.cancel()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._time_reading()

    def _time_header(self) -> None:
        """Let the time run while a header is awaited."""
        if self.conn.their_state is not h11.IDLE:
            if self._header is not None:
                self._header.cancel()
                self._header = None
        elif self._header is None:
            self._header = self.loop.call_later(self.seconds, self.transport.abort)

    def _time_reading(self, before: int = -1) -> None:
        """Look after a while whether the client has read any more of its answer."""
        left = self.transport.get_write_buffer_size()
        if left == before:
            self.transport.abort()
        elif left:
            self._reading = self.loop.call_later(self.seconds, self._time_reading, left)


def bounded_protocol(seconds: float) -> type[Any]:
    """Return the protocol with these seconds."""
    return type("BoundedProtocol", (BoundedProtocol,), {"seconds": seconds})
