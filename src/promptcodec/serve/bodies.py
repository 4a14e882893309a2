"""Bodies of requests: read into memory, bounded in size and time, and nowhere else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message as Header
from typing import TYPE_CHECKING, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser
from starlette.requests import ClientDisconnect

from promptcodec.serve.problems import ServiceError, sentence
from promptcodec.serve.settings import Settings

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

MOST_JSON = 2**16  # bytes
_MOST_PARTS = 32
_MOST_HEADER = 8192  # bytes of the header of one part


Model = TypeVar("Model", bound=BaseModel)


class BodyReader:
    """Reads bodies for one service: all that are being received together are bounded too."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.pending = 0  # bytes

    @contextmanager
    def counted(self, request: Request) -> Iterator[Body]:
        """A body to read; its bytes count as pending until the block ends."""
        body = Body(self, request)
        try:
            yield body
        finally:
            self.pending -= body.size

    def check_length(self, length: int) -> None:
        """Raise ServiceError for a body of more bytes than are taken."""
        most = self._settings.max_upload
        if length > most:
            raise ServiceError("too-large", f"the body has {length:,} bytes or more; at most {most:,} are taken")

    def check_pending(self, further: int) -> None:
        """Raise ServiceError where ``further`` bytes do not fit beside what is being received."""
        if self.pending + further > self._settings.max_pending:
            raise ServiceError("busy", "too many uploads at once; try again in a moment", 2)

    async def read_json(self, request: Request, model: type[Model]) -> Model:
        """Return a small body of JSON. Raises ServiceError for what is none, or not what ``model`` describes."""
        whole = bytearray()
        async for piece in self.pieces(request):
            whole += piece
            if len(whole) > MOST_JSON:
                raise ServiceError("too-large", f"the body has more than {MOST_JSON} bytes")
        try:
            return model.model_validate_json(bytes(whole))
        except ValidationError as error:
            raise ServiceError("options", "; ".join(map(sentence, error.errors()))) from None

    async def pieces(self, request: Request) -> AsyncIterator[bytes]:
        """The pieces of a body as they come. Raises ServiceError for what is too large or too slow."""
        loop, settings = asyncio.get_running_loop(), self._settings
        deadline = loop.time() + settings.upload_seconds
        stream = request.stream()
        while True:
            try:
                async with asyncio.timeout_at(min(deadline, loop.time() + settings.idle_seconds)):
                    piece = await anext(stream)
            except StopAsyncIteration:
                return
            except ClientDisconnect:
                raise ServiceError("cancelled", "the client went away") from None
            except TimeoutError:
                raise ServiceError(
                    "too-slow", f"no more of the body came for {settings.idle_seconds:g} s, or it took more than "
                    f"{settings.upload_seconds:g} s in all",
                ) from None  # fmt: skip
            yield piece


@dataclass
class Body:
    """One body of a request."""

    reader: BodyReader
    request: Request
    size: int = 0

    async def read(self) -> bytes:
        """Return all of it. Raises ServiceError, for an empty one as well."""
        try:
            announced = int(self.request.headers.get("content-length", "0"))
        except ValueError:
            raise ServiceError("malformed", "Content-Length is no number") from None
        self.reader.check_length(announced)
        self.reader.check_pending(announced)
        whole = bytearray()
        async for piece in self.reader.pieces(self.request):
            self.reader.check_length(len(whole) + len(piece))
            self.reader.check_pending(len(piece))
            whole += piece
            self.size += len(piece)
            self.reader.pending += len(piece)
        if not whole:
            raise ServiceError("malformed", "the body is empty; it should hold a file's bytes")
        return bytes(whole)


@dataclass
class _Part:
    name: str = ""
    data: bytearray = field(default_factory=bytearray)


def multipart_parts(data: bytes, content_type: str) -> dict[str, bytes]:
    """Return the parts of a multipart/form-data body by name. Raises ServiceError for what is none, and for equal
    names.
    """
    boundary = _parameter(content_type, "content-type", "boundary")
    if not boundary:
        raise ServiceError("malformed", "the multipart body's Content-Type has no boundary")
    collector = _Collector()
    parser = MultipartParser(boundary.encode("latin-1", "replace"), collector.callbacks())
    try:
        parser.write(data)
        parser.finalize()
    except FormParserError as error:
        raise ServiceError("malformed", f"the multipart body cannot be read: {error}") from None
    if not collector.ended:
        raise ServiceError("malformed", "the multipart body ends before its last boundary")
    return {name: bytes(part) for name, part in collector.parts.items()}


class _Collector:
    """What a parser calls, and what it gathers."""

    def __init__(self) -> None:
        self.parts: dict[str, bytearray] = {}
        self.ended = False
        self._field, self._value = bytearray(), bytearray()
        self._headers: dict[str, str] = {}
        self._data = bytearray()

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._begin, "on_header_field": self._more_field, "on_header_value": self._more_value,
            "on_header_end": self._header, "on_headers_finished": self._headers_done, "on_part_data": self._more_data,
            "on_end": self._end,
        }  # fmt: skip

    def _begin(self) -> None:
        if len(self.parts) >= _MOST_PARTS:
            raise ServiceError("malformed", f"the multipart body has more than {_MOST_PARTS} parts")
        self._headers, self._data = {}, bytearray()

    def _more_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]
        self._check_header()

    def _more_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]
        self._check_header()

    def _check_header(self) -> None:
        if len(self._field) + len(self._value) > _MOST_HEADER:
            raise ServiceError("malformed", "a header in the multipart body is too long")

    def _header(self) -> None:
        self._headers[self._field.decode("latin-1").lower()] = self._value.decode("utf-8", "replace")
        self._field, self._value = bytearray(), bytearray()

    def _headers_done(self) -> None:
        name = _parameter(self._headers.get("content-disposition", ""), "content-disposition", "name")
        if not name:
            raise ServiceError("malformed", "a part of the multipart body has no name")
        if name in self.parts:
            raise ServiceError("malformed", f"the multipart body has two parts {name!r}")
        self.parts[name] = self._data

    def _more_data(self, data: bytes, start: int, end: int) -> None:
        self._data += data[start:end]

    def _end(self) -> None:
        self.ended = True


def _parameter(value: str, header: str, name: str) -> str:
    """Return a parameter of a header's value; empty where there is none."""
    message = Header()
    message[header] = value.replace("\r", " ").replace("\n", " ")
    parameter = message.get_param(name, header=header)
    return parameter if isinstance(parameter, str) else ""
