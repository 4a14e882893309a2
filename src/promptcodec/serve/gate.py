"""What every request passes first, and every answer last: who may ask, headers for browsers, counters."""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from promptcodec.serve.problems import MEDIA_TYPE, ServiceError
from promptcodec.serve.telemetry import Telemetry

POLICY = "; ".join(
    (
        "default-src 'self'", "img-src 'self' blob: data:", "object-src 'none'", "base-uri 'none'",
        "form-action 'none'", "frame-ancestors 'none'",
    )
)  # fmt: skip
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}
_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS")
_LINGER_BYTES, _LINGER_SECONDS = 16 * 2**20, 10.0  # clients that send slowly, or on a busy machine, are common


class Gate:
    """Refuses requests that pages of elsewhere sent, adds headers, counts.

    *Host* must be localhost, an IP address or one of ``hosts``: a name that an attacker let point here is none of them.
    *Origin*, where a browser sends one, must be the same place, and a request that a browser calls cross-site may at
    most open the page.
    """

    def __init__(self, app: ASGIApp, hosts: Sequence[str], telemetry: Telemetry, most: int) -> None:
        """``most``: requests at once."""
        self._app, self._telemetry, self._most, self._present = app, telemetry, most, 0
        self._hosts = {"localhost", *(host.lower() for host in hosts)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begin, exchange = time.perf_counter(), _Exchange(scope, receive, send)
        problem, self._present = self._refusal(scope), self._present + 1
        try:
            if problem is not None:
                await problem_response(problem)(scope, exchange.receive, exchange.send)
            else:
                await self._app(scope, exchange.receive, exchange.send)
        finally:
            self._present -= 1
            await exchange.finish()
            route, seconds = getattr(scope.get("route"), "path", "other"), time.perf_counter() - begin
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self._telemetry.answered(route, method, exchange.status, seconds)

    def _refusal(self, scope: Scope) -> ServiceError | None:
        if self._present >= self._most:
            return ServiceError("busy", f"{self._most} requests are at work already; try again in a moment", 2)
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not self._is_ours(host):
            return ServiceError(
                "forbidden", "the request names another host than this service's; "
                "`promptcodec serve --allow-host NAME` lets it answer to a name",
            )  # fmt: skip
        origin = headers.get("origin")
        if origin is not None and origin.lower().partition("://")[2] != host.lower():
            return ServiceError("forbidden", "the request was sent by a page of another place")
        if headers.get("sec-fetch-site", "same-origin") in ("cross-site", "same-site"):
            opens = headers.get("sec-fetch-mode") == "navigate" and scope["method"] == "GET" and scope["path"] == "/"
            if not opens:
                return ServiceError("forbidden", "the request was sent by a page of another place")
        return None

    def _is_ours(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
            if name in self._hosts:
                return True
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


class _Exchange:
    """One request and its answer.

    An answer that comes before the whole body was read closes the connection; some of what still comes is read and
    dropped before, as clients that are still sending would else see a broken connection and no answer.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        self._receive, self._send = receive, send
        self._unread = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
        self._last: Message | None = None
        self.status = 499

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            self._unread = False
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("Cache-Control", "no-store")
            if self._unread:
                headers["Connection"] = "close"
        elif self._unread and not message.get("more_body", False):
            self._last = {"type": "http.response.body", "body": b"", "more_body": False}
            message = {**message, "more_body": True}
        await self._send(message)

    async def finish(self) -> None:
        """Let the client finish, or not for long."""
        if self._last is None:
            return
        dropped = 0
        try:
            async with asyncio.timeout(_LINGER_SECONDS):
                while self._unread and dropped < _LINGER_BYTES:
                    dropped += len((await self.receive()).get("body", b""))
        except TimeoutError:
            pass
        await self._send(self._last)


def problem_response(problem: ServiceError) -> JSONResponse:
    """Return a problem as an answer."""
    return JSONResponse(problem.body, problem.kind.status, dict(problem.headers), MEDIA_TYPE)
