"""A codec that is asked with the same adapters again and again."""

from collections.abc import Sequence
from typing import Any

from promptcodec.codec.codec import Codec
from promptcodec.picture.picture import Picture
from promptcodec.steer.adapter_file import StoredAdapter


class WithAdapters:
    """``codec`` with adapters named in every call."""

    def __init__(self, codec: Codec, sources: Sequence[Any]) -> None:
        self.codec, self.sources = codec, list(sources)

    @property
    def adapters(self) -> list[StoredAdapter]:
        """As they were loaded."""
        return self.codec.adapters.load(self.sources)

    def encode(self, *arguments: Any, **options: Any) -> bytes:
        return self.codec.encode(*arguments, adapters=self.sources, **options)

    def decode_picture(self, data: bytes, settings: dict[str, float] | None = None) -> Picture:
        return self.codec.decode_picture(data, adapters=self.sources, settings=settings)

    def verify(self, data: bytes) -> None:
        self.codec.verify(data, adapters=self.sources)
