"""Measures codecs on pictures."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from promptcodec.errors import ImageError, LimitError, PromptcodecError
from promptcodec.evaluate.codecs import EvaluatedCodec
from promptcodec.evaluate.datasets import PictureFile, read_picture
from promptcodec.evaluate.metrics import Pixels, ms_ssim, psnr
from promptcodec.evaluate.results import ResultsFile, Row

Plan = Sequence[tuple[EvaluatedCodec, Sequence[float]]]


def measure(pictures: Sequence[Path], plan: Plan, results: ResultsFile) -> Iterator[Row]:
    """Yields a row for every picture, codec and setting; those that ``results`` lacks are measured and appended.

    One thing at a time, so that the seconds mean something. Raises PromptcodecError where a codec fails on a
    picture, ImageError for unreadable pictures; what was measured until then stays in the file.
    """
    for codec, settings in plan:
        for setting in settings:
            codec.check(setting)
    results.repair()
    warm: set[EvaluatedCodec] = set()
    for path in pictures:
        picture = read_picture(path)
        pixels: Pixels | None = None
        for codec, settings in plan:
            for setting in settings:
                row = results.get((codec.key(setting), picture.sha256))
                if row is None:
                    if pixels is None:
                        pixels = picture.pixels()
                    if codec not in warm:
                        _warm_up(codec, setting)
                        warm.add(codec)
                    row, _ = measure_one(codec, setting, picture, pixels)
                    results.append(row)
                yield row


def measure_one(codec: EvaluatedCodec, setting: float, picture: PictureFile, pixels: Pixels) -> tuple[Row, Pixels]:
    """The row of a picture with uint8 (H, W, 3) ``pixels``, and the decoded pixels.

    Raises PromptcodecError where the codec fails on the picture.
    """
    try:
        start = time.perf_counter()
        data = codec.encode(pixels, setting)
        encoded = time.perf_counter()
        decoded = codec.decode(data)
        end = time.perf_counter()
        quality, similarity = psnr(pixels, decoded), ms_ssim(pixels, decoded)
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
        decode_s=end - encoded,
    )
    return row, decoded


def _warm_up(codec: EvaluatedCodec, setting: float) -> None:
    """The first call pays for lazy imports and allocations, which belong to no picture."""
    ramp = np.linspace(0, 255, 128 * 128 * 3, dtype=np.uint8).reshape(128, 128, 3)
    codec.decode(codec.encode(ramp, setting))
