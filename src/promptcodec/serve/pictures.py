"""Pictures that the page works on: in memory, bounded, by tokens that nobody can guess, for a while."""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from promptcodec.serve.problems import ServiceError

MOST_VIEWS = 24  # of one picture; the oldest go first
_MOST_SHARE = 0.25  # of the memory for all pictures, that one may take with more than one view


def new_token() -> str:
    """Return a name that nobody can guess."""
    return secrets.token_urlsafe(16)


@dataclass
class View:
    """A picture as it was coded once. ``blobs``: ``file``, and pictures as far as they were made."""

    name: str
    facts: dict[str, Any]
    settings: dict[str, Any]
    blobs: dict[str, bytes] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Memory in bytes."""
        return sum(map(len, self.blobs.values()))


@dataclass
class PageDocument:
    """One upload: its bytes, what it looks like, its region, and the views that were made of it."""

    token: str
    name: str
    source: bytes
    original: bytes
    facts: dict[str, Any]
    mask: bytes | None = None
    mask_number: int = 0
    views: OrderedDict[str, View] = field(default_factory=OrderedDict)
    used: float = 0.0

    @property
    def nbytes(self) -> int:
        """Memory in bytes."""
        views = sum(view.nbytes for view in self.views.values())
        return len(self.source) + len(self.original) + len(self.mask or b"") + views


class Pictures:
    """All of them. Where they take more than ``memory`` bytes, what was used least recently goes."""

    def __init__(self, memory: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._memory, self._seconds, self._clock = memory, seconds, clock
        self._documents: OrderedDict[str, PageDocument] = OrderedDict()
        self._of_views: dict[str, str] = {}  # tokens by views

    def __len__(self) -> int:
        return len(self._documents)

    @property
    def nbytes(self) -> int:
        """Memory in bytes."""
        return sum(document.nbytes for document in self._documents.values())

    def add(self, document: PageDocument) -> None:
        """Keep an upload. Raises ServiceError where it is larger than all memory for them."""
        if document.nbytes > self._memory:
            raise ServiceError("too-large", "the picture is larger than what the service keeps for its page")
        self._documents[document.token] = document
        self._touch(document)
        self.shrink()

    def get(self, token: str) -> PageDocument:
        """Return the picture of a token. Raises ServiceError where there is none (any more)."""
        self.shrink()
        document = self._documents.get(token)
        if document is None:
            raise ServiceError("not-found", "this picture is not here any more; send it again")
        self._touch(document)
        return document

    def add_view(self, document: PageDocument, view: View) -> str:
        """Keep a view, and let go the picture's oldest ones; returns its name.

        Raises ServiceError where the picture is not here any more.
        """
        self.get(document.token)
        name = new_token()
        document.views[name] = view
        self._of_views[name] = document.token
        while len(document.views) > 1 and (
            len(document.views) > MOST_VIEWS or document.nbytes > _MOST_SHARE * self._memory
        ):
            gone, _ = document.views.popitem(last=False)
            del self._of_views[gone]
        self.shrink()
        return name

    def view(self, name: str) -> tuple[PageDocument, View]:
        """Return a view and its picture. Raises ServiceError where there is none (any more)."""
        self.shrink()
        token = self._of_views.get(name)
        if token is None:
            raise ServiceError("not-found", "this view is not here any more; code the picture again")
        document = self.get(token)
        return document, document.views[name]

    def remove(self, token: str) -> None:
        """Forget a picture and its views. Raises ServiceError where there is none."""
        self._drop(self.get(token))

    def shrink(self) -> None:
        """Let go what has expired, and what there is no memory for; never what was used last."""
        now = self._clock()
        for document in list(self._documents.values()):
            over = self.nbytes > self._memory and len(self._documents) > 1
            if not over and document.used + self._seconds >= now:
                break
            self._drop(document)

    def _touch(self, document: PageDocument) -> None:
        document.used = self._clock()
        self._documents.move_to_end(document.token)

    def _drop(self, document: PageDocument) -> None:
        del self._documents[document.token]
        for name in document.views:
            del self._of_views[name]
