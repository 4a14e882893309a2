"""Errors as ``application/problem+json`` (RFC 9457), with the sentences of our own errors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from promptcodec.errors import PromptcodecError

MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True)
class Kind:
    """A type of problem: its name at the end of ``type``, HTTP status, and title."""

    name: str
    status: int
    title: str


KINDS = {
    kind.name: kind
    for kind in (
        Kind("not-a-picture", 415, "Not a picture that can be read"),
        Kind("not-a-ptc-file", 415, "Not a .ptc file that can be read"),
        Kind("unsupported-media-type", 415, "The body has another media type"),
        Kind("malformed", 400, "The request cannot be read"),
        Kind("forbidden", 403, "The request comes from elsewhere"),
        Kind("not-found", 404, "There is nothing here"),
        Kind("method-not-allowed", 405, "There is no such method here"),
        Kind("too-slow", 408, "The body came too slowly"),
        Kind("superseded", 409, "A newer request took this one's place"),
        Kind("too-large", 413, "Too large"),
        Kind("options", 422, "The options do not fit"),
        Kind("out-of-range", 422, "The target is out of this picture's range"),
        Kind("model", 422, "The model is not here"),
        Kind("cancelled", 499, "The client went away"),
        Kind("internal", 500, "Something went wrong in the service"),
        Kind("worker-ended", 500, "The process that did the work ended"),
        Kind("busy", 503, "Too much is waiting"),
        Kind("over-time", 504, "It took too long"),
    )
}

OF_ERRORS = {
    "ImageError": "not-a-picture",
    "FormatError": "not-a-ptc-file",
    "VersionError": "not-a-ptc-file",
    "ModelMismatchError": "model",
    "OtherBaseError": "model",
    "LimitError": "too-large",
    "UsageError": "options",
    "UnfitError": "options",
    "TargetError": "out-of-range",
    "CancelledError": "cancelled",
    "MemoryError": "too-large",
    "VerificationError": "internal",
}
"""The kind of each error that a worker may answer with; others are ``internal``, and their text stays here."""


class ServiceError(PromptcodecError):
    """A request that cannot be answered as asked; ``detail`` is a sentence for people."""

    def __init__(self, kind: str, detail: str, retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.kind, self.detail, self.retry_after = KINDS[kind], detail, retry_after

    @property
    def headers(self) -> Mapping[str, str]:
        """Those that belong to it."""
        return {} if self.retry_after is None else {"Retry-After": str(math.ceil(self.retry_after))}

    @property
    def body(self) -> dict[str, object]:
        """What the JSON says."""
        kind = self.kind
        return {"type": f"/problems/{kind.name}", "title": kind.title, "status": kind.status, "detail": self.detail}


def problem_of(error: str, text: str) -> ServiceError:
    """Return the problem that an error of a worker means, by the name of its class."""
    name = OF_ERRORS.get(error, "internal")
    if name == "internal":
        text = text if error == "VerificationError" else "an unexpected error; the service's log says more"
    return ServiceError(name, text)


def sentence(fault: Any, skip: int = 0) -> str:
    """Return what pydantic found, in a line; ``skip``: parts of the place that are left out."""
    where = ".".join(str(part) for part in fault["loc"][skip:]) or "the body"
    return f"{where}: {fault['msg'][:1].lower()}{fault['msg'][1:]}"
