"""``promptcodec.batch.encode`` and its neighbours: jobs from Python."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any

from promptcodec.batch.addresses import normalised
from promptcodec.batch.engine import Engine
from promptcodec.batch.job import Summary, Watcher, run_job
from promptcodec.batch.local_engine import LocalEngine
from promptcodec.batch.manifest import Job, Manifest
from promptcodec.batch.planning import Plan, plan_shards
from promptcodec.batch.records import Failure, Progress, ShardRecord
from promptcodec.batch.settings import DEFAULT_QUALITY, DecodeSettings, EncodeSettings, EvalSettings, Settings
from promptcodec.bitstream.container import MAX_PIXELS
from promptcodec.bitstream.tiling import Rect
from promptcodec.codec.adapters import Request
from promptcodec.codec.budget import DEFAULT_MEMORY
from promptcodec.codec.search import one_target
from promptcodec.errors import UsageError
from promptcodec.model.effort import effort_of

if TYPE_CHECKING:
    from promptcodec.model.inference.precision import Precision

Place = str | PathLike[str]


def available_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Nobody:
    """Watches nothing."""

    def begun(self, shards: int) -> None:
        pass

    def advanced(self, progress: Progress) -> None:
        pass

    def finished(self, record: ShardRecord) -> None:
        pass


_NOBODY = _Nobody()


@dataclass(frozen=True)
class Running:
    """How a job is run, which no output depends on.

    ``engine``: "local", "ray", or an ``Engine``. ``workers``: processes, by default as many as there are cores, on a
    cluster as it has cores or GPUs; ``threads``: of each. ``address``: of a Ray cluster, by default that of RAY_ADDRESS
    or a new one on this machine; ``gpus``: what each worker takes of them, where the device is one. ``overwrite``: the
    destination may hold other files. ``watcher``: is told how it goes.
    """

    engine: str | Engine = "local"
    workers: int | None = None
    threads: int = 1
    address: str | None = None
    gpus: float = 1.0
    overwrite: bool = False
    watcher: Watcher = field(default=_NOBODY)

    def open_engine(self, settings: Settings) -> Engine:
        """Return the engine. Raises UsageError for one that there is not."""
        if not isinstance(self.engine, str):
            return self.engine
        if self.engine == "local":
            return LocalEngine(settings, self.workers or available_cores(), self.threads)
        if self.engine == "ray":
            from promptcodec.batch.ray_engine import RayEngine

            return RayEngine(settings, self.workers, address=self.address, threads=self.threads, gpus=self.gpus)
        raise UsageError(f"there is no engine {self.engine!r} (known: local, ray)")


def encode(
    sources: Place | Sequence[Place],
    destination: Place,
    *,
    quality: float | None = None,
    target_size: float | None = None,
    target_bpp: float | None = None,
    target_psnr: float | None = None,
    target_ms_ssim: float | None = None,
    target_ssimulacra2: float | None = None,
    effort: int = 0,
    adapters: Sequence[str] = (),
    settings: Mapping[str, float] | None = None,
    look: float | None = None,
    roi: str | None = None,
    maps: Mapping[str, str] | None = None,
    strip: bool = False,
    memory: int = DEFAULT_MEMORY,
    preview: bool | None = None,
    verify: bool = True,
    model: str | None = None,
    device: str = "cpu",
    batch_size: int | None = None,
    precision: Precision = "float32",
    extensions: Sequence[str] = (),
    column: str = "",
    running: Running = Running(),
    **how: Any,
) -> Summary:
    """Compress all pictures of ``sources`` into .ptc files below ``destination``, each exactly once.

    ``sources``: folders, tar and Parquet files and pictures, on this machine or at any address of fsspec.
    ``destination``: a folder or an address. What a run leaves undone, another call with the same arguments does.
    ``roi`` and ``maps``: ``x,y,w,h``, a number, or the file of a grey picture, for all pictures alike.
    ``batch_size``: pictures of one size that the networks are given at once, 8 on a GPU; no byte depends on it.
    ``extensions`` and ``column``: which members of tar files, and which column of Parquet files, are pictures.
    ``running``, or its fields by their names (``engine="local"``, ``workers=4``): how to run it. All else: see
    ``promptcodec.encode``.

    Raises UsageError for what makes no sense, such as other settings than the destination was begun with,
    DestinationError where it takes nothing more, and SourceError where the sources cannot be listed. Pictures that fail
    are in the summary.
    """
    steering = Request.of(adapters, settings, roi, look, maps)
    target = one_target(target_size, target_bpp, target_psnr, target_ms_ssim, target_ssimulacra2)
    if target is not None and quality is not None:
        raise UsageError(f"a quality and a target {target.name} exclude each other")
    chosen = EncodeSettings(
        quality, target, model, strip, device, tuple(adapters), tuple(sorted(steering.settings.items())),
        tuple(sorted((name, str(plane)) for name, plane in steering.maps.items())),
        effort_of(effort).level, memory, preview, precision, verify,
        batch_size,
    )  # fmt: skip
    return run(sources, destination, chosen, extensions, column, replace(running, **how))


def decode(
    sources: Place | Sequence[Place],
    destination: Place,
    *,
    format: str = "png",
    adapters: Sequence[str] = (),
    settings: Mapping[str, float] | None = None,
    crop: tuple[int, int, int, int] | None = None,
    preview: bool = False,
    strip: bool = False,
    max_pixels: int | None = MAX_PIXELS,
    model: str | None = None,
    device: str = "cpu",
    precision: Precision = "float32",
    extensions: Sequence[str] = (),
    column: str = "",
    running: Running = Running(),
    **how: Any,
) -> Summary:
    """Decode all .ptc files of ``sources`` to pictures of ``format``; all else as in ``encode`` and ``decode``."""
    chosen = DecodeSettings(
        format, model, strip, device, max_pixels, tuple(adapters), tuple(sorted((settings or {}).items())),
        None if crop is None else Rect(*crop), preview, precision,
    )  # fmt: skip
    return run(sources, destination, chosen, extensions, column, replace(running, **how))


def evaluate(
    sources: Place | Sequence[Place],
    destination: Place,
    *,
    codecs: Mapping[str, Sequence[float]] | None = None,
    metrics: Sequence[str] = (),
    networks: Place | None = None,
    extensions: Sequence[str] = (),
    column: str = "",
    running: Running = Running(),
    **how: Any,
) -> Summary:
    """Measure codecs on all pictures of ``sources``; the rows of each shard become a file of JSON lines.

    ``codecs``: as ``promptcodec eval --codec`` has them, each with its settings. ``metrics``: beside PSNR and MS-SSIM.
    ``networks``: folder of the weights of LPIPS and DISTS. All else as in ``encode``.
    """
    plan = tuple((spec, tuple(map(float, at))) for spec, at in (codecs or {"promptcodec": [DEFAULT_QUALITY]}).items())
    chosen = EvalSettings(plan, tuple(metrics), None if networks is None else fspath(networks))
    return run(sources, destination, chosen, extensions, column, replace(running, **how))


def run(
    sources: Place | Sequence[Place],
    destination: Place,
    settings: Settings,
    extensions: Sequence[str] = (),
    column: str = "",
    running: Running = Running(),
) -> Summary:
    """Run a job with ``settings``; see ``encode``."""
    engine = running.open_engine(settings)  # one that there is not leaves nothing in the destination
    plan, manifest, job = prepare(sources, destination, settings, extensions, column, running)
    done = manifest.done()
    left = done.remaining(plan.shards)
    summary = run_job(job, left, manifest, done, engine, running.watcher, plan.problems)
    summary.passed_over = dict(plan.others)
    return summary


def prepare(
    sources: Place | Sequence[Place],
    destination: Place,
    settings: Settings,
    extensions: Sequence[str],
    column: str,
    running: Running,
) -> tuple[Plan, Manifest, Job]:
    """Plan a job, and make ``destination`` that of it, unless it is already. Raises as ``encode`` does."""
    places = [fspath(sources)] if isinstance(sources, (str, PathLike)) else [fspath(each) for each in sources]
    workers = running.workers or available_cores()
    target = one_destination(destination)
    plan = plan_shards(places, target, settings.verb, settings.suffix, extensions, column, workers)
    manifest = Manifest(target)
    job = Job(settings, tuple(extensions), column, tuple(map(normalised, places)))
    manifest.begin(job, running.overwrite)
    return plan, manifest, job


def one_destination(destination: Place | Sequence[Place]) -> str:
    """Return the one destination of a job. Raises UsageError for several."""
    several = [destination] if isinstance(destination, (str, PathLike)) else list(destination)
    if len(several) != 1:
        raise UsageError(
            f"a job has one destination, which has its manifest, not {len(several)}: run one on a part of the sources "
            "for each"
        )
    return fspath(several[0])


def retry(destination: Place, *, running: Running = Running(), **how: Any) -> Summary:
    """Try again what failed in the job of ``destination``, with its settings.

    Loose files alone; tar and Parquet files with a failure are read and written anew as a whole. Raises as ``encode``
    does.
    """
    running = replace(running, **how)
    manifest = Manifest(fspath(destination))
    job = manifest.job()
    manifest.begin(job)  # the model, or a file of an adapter, may be another one by now
    done = manifest.done()
    shards = done.shards_to_retry(job, manifest.storage.address)
    return run_job(job, shards, manifest, done, running.open_engine(job.settings), running.watcher)


def failures(destination: Place) -> list[Failure]:
    """Return all pictures of the job of ``destination`` that have no output, with the sentence for each."""
    return Manifest(fspath(destination)).done().failures()
