"""What a service may use, and for how long."""

from __future__ import annotations

import os
from dataclasses import dataclass

MIB = 2**20
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1  # that we may use
DEFAULT_WORKERS = min(CORES, 4)


@dataclass(frozen=True)
class Settings:
    """The limits of a service; docs/serve.md says what each is for.

    ``workers`` encode and decode, ``measuring_workers`` compute what the page shows beside a picture, each with
    ``threads`` threads and at most ``worker_memory`` bytes; coding that begins while the other workers are idle has
    their threads too. ``max_queue``: jobs that may wait, ``max_wait`` seconds
    each. ``max_seconds``: of work on one request. ``max_pixels``: of one picture; ``max_upload``: bytes of one body,
    and ``max_pending``: of all that are being received. ``idle_seconds``: between two pieces of a body, and
    ``upload_seconds`` for all of it. ``picture_memory``: bytes of all pictures of the page, each of which goes
    ``picture_seconds`` after it was last asked for. ``latent_memory``: bytes of analysed pictures in each worker.
    ``nearby``: whether browsers are on this machine. ``hosts``: names by which the service may be addressed, beside
    localhost and IP addresses.
    """

    workers: int = DEFAULT_WORKERS
    measuring_workers: int = 2
    threads: int = 1
    worker_memory: int = 3072 * MIB
    max_queue: int = 32
    max_seconds: float = 120.0
    max_wait: float = 60.0
    max_pixels: int = 2**26
    max_upload: int = 128 * MIB
    max_pending: int = 512 * MIB
    idle_seconds: float = 10.0
    upload_seconds: float = 300.0
    picture_memory: int = 1024 * MIB
    picture_seconds: float = 3600.0
    latent_memory: int = 256 * MIB
    nearby: bool = False
    hosts: tuple[str, ...] = ()
