"""The socket that the service listens at."""

from __future__ import annotations

import asyncio
import socket

import pytest

from promptcodec.errors import UsageError
from promptcodec.serve.server import _listener


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_answers_do_not_wait_for_acknowledgements(host: str) -> None:
    async def delay_is_off() -> bool:
        answers: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connection = writer.get_extra_info("socket")
            answers.set_result(bool(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)))
            writer.close()

        async with await asyncio.start_server(answer, sock=listener):
            _, writer = await asyncio.open_connection(*listener.getsockname()[:2])
            result = await answers
            writer.close()
        return result

    try:
        listener = _listener(host, 0)
    except UsageError:
        pytest.skip(f"this machine has no {host}")
    assert asyncio.run(delay_is_off())
