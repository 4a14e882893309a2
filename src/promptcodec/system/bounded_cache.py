"""What a process loads once and keeps: the values used last, shared by all threads."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable
from threading import RLock
from typing import Any, Generic, TypeVar
from weakref import WeakSet

Key = TypeVar("Key")
Value = TypeVar("Value")


class BoundedCache(Generic[Key, Value]):
    """At most ``most`` values by key; what was used least recently goes first.

    A value is made by one thread, while others that want one of this cache wait. In a forked process the values stay,
    and nobody waits for a thread of the parent.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: OrderedDict[Key, Value] = OrderedDict()
        self._lock = RLock()
        _caches.add(self)

    def get(self, key: Key, make: Callable[[], Value], valid: Callable[[Value], bool] = lambda value: True) -> Value:
        """Return the value of ``key``, made if it is not here or no longer ``valid``. Raises what ``make`` does."""
        with self._lock:
            if key not in self._values or not valid(self._values[key]):
                self._values[key] = make()
            self._values.move_to_end(key)
            if len(self._values) > self._most:
                self._values.popitem(last=False)
            return self._values[key]

    def __len__(self) -> int:
        return len(self._values)


_caches: WeakSet[BoundedCache[Any, Any]] = WeakSet()


def _renew_locks() -> None:
    for cache in _caches:
        cache._lock = RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)
