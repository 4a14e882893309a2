"""Ray, connected to: a cluster that is there already, or one of this machine alone for as long as a job takes."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from promptcodec.errors import PromptcodecError, UsageError
from promptcodec.system.extras import import_extra
from promptcodec.system.import_path import SafeChildren

OBJECT_STORE = 100 * 2**20  # bytes, of a cluster of our own: no picture goes through it
_TOKEN = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE")


@contextmanager
def connected(address: str | None, cpus: int) -> Iterator[Any]:
    """The module ``ray``, connected to the cluster at ``address`` (``auto``: the one of this machine).

    Without an address: to what the program is connected to already, else to the cluster that RAY_ADDRESS names, else to
    a new one of this machine with ``cpus`` cores, which ends with the block. Its ports take nobody in who lacks a token
    that only its processes have; it has no dashboard, and sends no statistics of usage. Raises UsageError where the
    extra is missing, PromptcodecError where Ray cannot be reached or started.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when Ray starts
    ray = import_extra("ray", "ray", "ray")
    if ray.is_initialized():
        if address is not None:
            raise UsageError("this program is connected to a cluster already: leave out the address, or ray.shutdown()")
        yield ray
        return
    address = address or os.environ.get("RAY_ADDRESS") or None
    try:
        _start(ray, address, cpus)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        where = "a cluster on this machine cannot be started" if address is None else f"no cluster answers at {address}"
        raise PromptcodecError(f"{where}: {' '.join(str(error).split())}") from None
    try:
        with _quiet(ray):
            yield ray
    finally:
        ray.shutdown()


@contextmanager
def _quiet(ray: Any) -> Iterator[None]:
    """Keep Ray off standard output, which is for records: deaths of workers it prints whatever it was told."""
    module, name = ray._private.worker, "print_to_stdstream"
    before = getattr(module, name)
    setattr(module, name, lambda *_, **__: None)
    try:
        yield
    finally:
        setattr(module, name, before)


def _start(ray: Any, address: str | None, cpus: int) -> None:
    settings: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    with _signals_kept(), SafeChildren():
        if address is not None:
            ray.init(address, **settings)
            return
        os.environ.setdefault(
            "RAY_worker_niceness", "0"
        )  # as the job itself; by default they would stand behind all else
        if not any(name in os.environ for name in _TOKEN):  # Ray would keep the token in a file of the home folder
            os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
        ray.init(
            "local", num_cpus=cpus, object_store_memory=OBJECT_STORE, include_dashboard=False,
            _node_ip_address="127.0.0.1", **settings,
        )  # fmt: skip


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Ray puts a handler of its own in the place of the program's."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
