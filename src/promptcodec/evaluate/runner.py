"""Measures codecs on pictures, in one process or in several."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from functools import cache, lru_cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from promptcodec.errors import ImageError, LimitError, PromptcodecError
from promptcodec.evaluate.codecs.evaluated_codec import EvaluatedCodec
from promptcodec.evaluate.codecs.registry import open_codec
from promptcodec.evaluate.cost.memory import begin_peak, peak_mib
from promptcodec.evaluate.data.datasets import PictureFile, read_picture
from promptcodec.evaluate.judge import Judge
from promptcodec.evaluate.metrics import MASKED
from promptcodec.evaluate.results import ResultsFile, Row
from promptcodec.quality.ms_ssim import ms_ssim_of_pixels
from promptcodec.quality.pixels import Mask, Pixels
from promptcodec.quality.psnr import psnr
from promptcodec.system.import_path import SafeChildren

Plan = Sequence[tuple[EvaluatedCodec, Sequence[float]]]
Masks = Mapping[Path, Path]

_NO_JUDGE = Judge()
_judge = _NO_JUDGE  # of a worker process


def measure(
    pictures: Sequence[Path],
    plan: Plan,
    results: ResultsFile,
    judge: Judge = _NO_JUDGE,
    masks: Masks | None = None,
    jobs: int = 1,
) -> Iterator[Row]:
    """Yield a row for every picture, codec and setting; those that ``results`` lacks are measured and appended.

    A row counts as measured if it has the judge's metrics, of the same mask; a row that is measured again for further
    metrics keeps those that it had. ``jobs`` processes of one thread work at
    once: faster, but then the seconds of the rows mean little. Raises PromptcodecError where a codec fails on a
    picture, ImageError for unreadable pictures; what was measured until then stays in the file.
    """
    for codec, settings in plan:
        for setting in settings:
            codec.check(setting)
    results.repair()
    todo: list[tuple[Path, Path | None, EvaluatedCodec, float]] = []
    for path in pictures:
        sha256 = read_picture(path).sha256
        mask = None if masks is None else masks[path]
        for codec, settings in plan:
            for setting in settings:
                row = results.get((codec.key(setting), sha256))
                if row is not None and _complete(row, judge, mask):
                    yield row
                else:
                    todo.append((path, mask, codec, setting))
    fresh = _in_turn(todo, judge) if jobs <= 1 or len(todo) <= 1 else _at_once(todo, judge, jobs)
    for measured in fresh:
        row = _with_earlier_scores(measured, results.get(measured.key))
        results.append(row)
        yield row


def measure_one(
    codec: EvaluatedCodec,
    setting: float,
    picture: PictureFile,
    pixels: Pixels,
    judge: Judge = _NO_JUDGE,
    mask: tuple[str, Mask] | None = None,
    jobs: int = 1,
) -> tuple[Row, Pixels]:
    """Return the row of a picture with uint8 (H, W, 3) ``pixels``, and the decoded pixels; ``mask``: its hash and
    weights.

    Raises PromptcodecError where the codec fails on the picture.
    """
    try:
        codec.use_mask(None if mask is None else mask[1])
        peak_known = begin_peak() and codec.in_process
        start = time.perf_counter()
        data = codec.encode(pixels, setting)
        encoded = time.perf_counter()
        phases = dict(codec.phases)
        again = time.perf_counter()
        decoded = codec.decode(data)
        end = time.perf_counter()
        peak = peak_mib() if peak_known else None
        quality, similarity = psnr(pixels, decoded), ms_ssim_of_pixels(pixels, decoded)
        scores = judge(pixels, decoded, None if mask is None else mask[1])
    except (ImageError, LimitError, OSError, ValueError) as error:  # the last two are Pillow's
        raise PromptcodecError(f"{codec.name} at {setting:g} fails on {picture.name}: {error}") from error
    height, width, _ = pixels.shape
    row = Row(
        codec=codec.name,
        options=codec.options,
        version=codec.version,
        picture=picture.name,
        sha256=picture.sha256,
        width=width,
        height=height,
        setting=float(setting),
        bytes=len(data),
        bpp=8 * len(data) / (width * height),
        psnr=quality,
        ms_ssim=similarity,
        encode_s=encoded - start,
        decode_s=end - again,
        scores=scores,
        mask=None if mask is None else mask[0],
        phases={name: round(seconds, 5) for name, seconds in {**phases, **codec.phases}.items()},
        peak_mib=peak,
        jobs=jobs,
        spec=codec.spec,
        parameters=codec.parameters,
    )
    return row, decoded


def _complete(row: Row, judge: Judge, mask: Path | None) -> bool:
    if any(name not in row.scores for name in judge.names):
        return False
    masked = mask is not None and any(name in MASKED for name in judge.names)
    return not masked or (mask is not None and row.mask == read_picture(mask).sha256)


def _with_earlier_scores(row: Row, earlier: Row | None) -> Row:
    """Return ``row`` with the scores that it lacks and ``earlier`` has, if both are of the same file."""
    if earlier is None or (earlier.version, earlier.bytes) != (row.version, row.bytes):
        return row
    same_mask = row.mask is None or row.mask == earlier.mask
    kept = {name: score for name, score in earlier.scores.items() if same_mask or name not in MASKED}
    return replace(row, scores={**kept, **row.scores}, mask=row.mask or earlier.mask)


def _in_turn(todo: Sequence[tuple[Path, Path | None, EvaluatedCodec, float]], judge: Judge) -> Iterator[Row]:
    warm: set[EvaluatedCodec] = set()
    for path, mask, codec, setting in todo:
        if codec not in warm:
            _warm_up(codec, setting)
            warm.add(codec)
        yield _row_of(path, mask, codec, setting, judge, 1)


def _at_once(todo: Sequence[tuple[Path, Path | None, EvaluatedCodec, float]], judge: Judge, jobs: int) -> Iterator[Row]:
    context = get_context("spawn")  # torch's threads do not survive a fork
    with SafeChildren():  # the pool begins multiprocessing's resource tracker
        pool = ProcessPoolExecutor(jobs, context, initializer=_begin_worker, initargs=(judge.names, judge.networks))
    with pool:
        with SafeChildren():
            futures = [pool.submit(_work, path, mask, codec.spec, setting, jobs) for path, mask, codec, setting in todo]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _begin_worker(names: Sequence[str], networks: Path | None) -> None:
    import signal

    import torch

    global _judge  # noqa: PLW0603 - a worker has one, and it is too large to send with every task
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent alone decides what Ctrl-C means
    torch.set_num_threads(1)
    _judge = Judge(names, networks)


def _work(path: Path, mask: Path | None, spec: str, setting: float, jobs: int) -> Row:
    return _row_of(path, mask, _warm_codec(spec), setting, _judge, jobs)


@cache
def _warm_codec(spec: str) -> EvaluatedCodec:
    codec = open_codec(spec)
    _warm_up(codec, codec.settings[0])
    return codec


def _row_of(path: Path, mask: Path | None, codec: EvaluatedCodec, setting: float, judge: Judge, jobs: int) -> Row:
    picture = read_picture(path)
    weights = None if mask is None else read_picture(mask)
    masked = None if weights is None else (weights.sha256, _mask(weights))
    return measure_one(codec, setting, picture, _pixels(picture), judge, masked, jobs)[0]


@lru_cache(2)  # consecutive tasks are of the same picture
def _pixels(picture: PictureFile) -> Pixels:
    return picture.pixels()


@lru_cache(2)
def _mask(mask: PictureFile) -> Mask:
    return mask.mask()


def _warm_up(codec: EvaluatedCodec, setting: float) -> None:
    """Pay for lazy imports and allocations, which belong to no picture."""
    ramp = np.linspace(0, 255, 128 * 128 * 3, dtype=np.uint8).reshape(128, 128, 3)
    codec.use_mask(np.full((128, 128), 255, np.uint8))
    codec.decode(codec.encode(ramp, setting))
