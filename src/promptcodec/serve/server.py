"""Run a service until it is told to end."""

from __future__ import annotations

import signal
import socket
import threading
import webbrowser
from collections.abc import Callable

import uvicorn

from promptcodec.errors import UsageError
from promptcodec.serve.app import make_app
from promptcodec.serve.connections import bounded_protocol
from promptcodec.serve.settings import Settings


def run(settings: Settings, host: str, port: int, tell: Callable[[str, int], None], browser: bool = False) -> None:
    """Serve until SIGTERM or Ctrl-C; what runs then is finished.

    ``tell`` is called with the page's address and the port once connections are taken. ``browser`` opens it. Raises
    UsageError where there is no such address, or somebody has it.
    """
    listener = _listener(host, port)
    port = listener.getsockname()[1]
    here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    address = f"http://{f'[{here}]' if ':' in here else here}:{port}/"
    config = uvicorn.Config(
        make_app(settings), log_config=None, access_log=False, server_header=False, proxy_headers=False, ws="none",
        http=bounded_protocol(settings.idle_seconds), timeout_graceful_shutdown=int(settings.max_seconds) + 1,
    )  # fmt: skip
    server = uvicorn.Server(config)
    for number in (signal.SIGINT, signal.SIGTERM):  # before uvicorn does, which raises them again when it has ended
        signal.signal(number, server.handle_exit)
    tell(address, port)
    if browser:
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
    server.run(sockets=[listener])


def _listener(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=256)
        # asyncio lets answers leave at once, rather than 40 ms later with an acknowledgement, where it is told that the
        # protocol is TCP, which ``create_server`` leaves open.
        return socket.socket(listener.family, listener.type, socket.IPPROTO_TCP, fileno=listener.detach())
    except OSError as error:
        raise UsageError(
            f"cannot listen at {host} port {port}: {error.strerror or error}; give another --host or --port "
            "(-p 0 takes a free one)"
        ) from None
    except OverflowError:
        raise UsageError(f"a port is a number from 0 to 65535, not {port}") from None
