"""The adapters of one codec, each read from its file once."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from promptcodec.steer.adapter import Adapter
from promptcodec.steer.adapter_file import StoredAdapter, base_fingerprint, load_adapter
from promptcodec.store.shipped_adapters import shipped_adapters
from promptcodec.system.bounded_cache import BoundedCache

if TYPE_CHECKING:
    from promptcodec.model.base import CompressionModel

MOST_FILES = 16  # adapters of a codec that stay in memory


class LoadedAdapters:
    """Adapters for one network; its weights, which never change in a codec, are hashed once."""

    def __init__(self, network: CompressionModel) -> None:
        self._network = network
        self._base: BoundedCache[str, str] = BoundedCache(1)
        self._stored: BoundedCache[tuple[object, ...], StoredAdapter] = BoundedCache(MOST_FILES)

    @property
    def base(self) -> str:
        """Fingerprint of the network, as adapter files state it."""
        return self._base.get("", partial(base_fingerprint, self._network))

    def load(self, path: str | Path) -> StoredAdapter:
        """Load as ``load_adapter`` does, again only where the file has changed since. Raises as it does."""
        make = partial(load_adapter, path, self._network, self.base)
        return self._stored.get(_identity(path), make, _is_current)

    @property
    def shipped(self) -> tuple[StoredAdapter, ...]:
        """All that the package has for this base, newest first."""
        return tuple(self.load(adapter.path) for adapter in shipped_adapters() if adapter.base == self.base)


def _identity(path: str | Path) -> tuple[object, ...]:
    """Identify a file's content, or what is no file: a name that ships or needs none."""
    if not Path(path).is_file():
        return (str(path),)
    facts = Path(path).stat()
    return str(Path(path).resolve()), facts.st_ino, facts.st_mtime_ns, facts.st_size


def _is_current(stored: StoredAdapter) -> bool:
    """Return whether the program has not defined its kind anew."""
    return Adapter.kinds.get(stored.adapter.kind) is type(stored.adapter)
