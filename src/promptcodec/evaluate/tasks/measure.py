"""Codes pictures and shows them to recognisers."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from promptcodec.errors import ImageError, LimitError, PromptcodecError
from promptcodec.evaluate.codecs.evaluated_codec import EvaluatedCodec
from promptcodec.evaluate.data.datasets import PictureFile, read_picture
from promptcodec.evaluate.results import RowsFile
from promptcodec.evaluate.tasks.rows import ORIGINAL, CodedSize, TaskRow, to_json
from promptcodec.evaluate.tasks.truth import Truth
from promptcodec.quality.pixels import Pixels
from promptcodec.quality.psnr import psnr
from promptcodec.quality.reference_features import to_tensor
from promptcodec.tasks.recogniser import Objects, Recogniser

Plan = Sequence[tuple[EvaluatedCodec, Sequence[float]]]


@dataclass(frozen=True)
class View:
    """What a codec is given of a picture, and who looks at it afterwards.

    ``pixels``: what is coded; ``size``: of the original picture, (width, height).
    """

    picture: PictureFile
    size: tuple[int, int]
    pixels: Pixels
    coded_size: CodedSize
    recognisers: Sequence[Recogniser]

    def row(self, recogniser: Recogniser, codec: EvaluatedCodec, setting: float) -> TaskRow:
        """Return the row of a codec without its measurements: what identifies it."""
        height, width, _ = self.pixels.shape
        return TaskRow(
            codec=codec.name, options=codec.options, version=codec.version, picture=self.picture.name,
            sha256=self.picture.sha256, width=width, height=height, setting=float(setting), bytes=0, bpp=0.0, psnr=None,
            encode_s=0.0, decode_s=0.0, task=recogniser.task, recogniser=recogniser.name, weights=recogniser.weights,
            coded_size=self.coded_size,
        )  # fmt: skip


def measure(
    pictures: Sequence[Path],
    plan: Plan,
    recognisers: Sequence[Recogniser],
    sizes: Sequence[CodedSize],
    results: RowsFile[TaskRow],
    truth: Mapping[str, Truth],
) -> Iterator[TaskRow]:
    """Yield a row for every picture, size, codec, setting and recogniser, and one for the picture itself, as codec
    "original"; those that ``results`` lacks are measured and appended.

    Raises PromptcodecError where a codec fails on a picture, ImageError for unreadable pictures; what was measured
    until then stays in the file.
    """
    for codec, settings in plan:
        for setting in settings:
            codec.check(setting)
    results.repair()
    for path in pictures:
        picture = read_picture(path)
        for view in _views(picture, picture.pixels(), recognisers, sizes):
            for codec, setting in [(_Original(), 0.0), *((codec, s) for codec, settings in plan for s in settings)]:
                rows = {r: view.row(r, codec, setting) for r in view.recognisers}
                missing = [r for r, row in rows.items() if not _complete(results.get(row.key), truth.get(picture.name))]
                if missing:
                    for row in _measured(view, codec, setting, missing, truth.get(picture.name)):
                        results.append(row)
                yield from (stored for row in rows.values() if (stored := results.get(row.key)) is not None)


def _complete(row: TaskRow | None, truth: Truth | None) -> bool:
    """Tell whether a row need not be measured again; labels may have changed since."""
    return row is not None and (row.codec != ORIGINAL or row.truth == truth)


def _views(
    picture: PictureFile, pixels: Pixels, recognisers: Sequence[Recogniser], sizes: Sequence[CodedSize]
) -> Iterator[View]:
    height, width, _ = pixels.shape
    for size in sizes:
        if size == "native":
            yield View(picture, (width, height), pixels, size, recognisers)
        else:
            for recogniser in recognisers:
                yield View(picture, (width, height), recogniser.prepare(pixels), size, [recogniser])


def _measured(
    view: View, codec: EvaluatedCodec, setting: float, recognisers: Sequence[Recogniser], truth: Truth | None
) -> Iterator[TaskRow]:
    try:
        start = time.perf_counter()
        data = codec.encode(view.pixels, setting)
        encoded = time.perf_counter()
        decoded = codec.decode(data)
        end = time.perf_counter()
    except (ImageError, LimitError, OSError, ValueError) as error:  # the last two are Pillow's
        raise PromptcodecError(f"{codec.name} at {setting:g} fails on {view.picture.name}: {error}") from error
    height, width, _ = view.pixels.shape
    is_original = codec.name == ORIGINAL
    for recogniser in recognisers:
        yield TaskRow(
            **{
                **vars(view.row(recogniser, codec, setting)),
                "bytes": len(data),
                "bpp": 8 * len(data) / (width * height),
                "psnr": None if is_original else psnr(view.pixels, decoded),
                "encode_s": round(encoded - start, 5),
                "decode_s": round(end - encoded, 5),
                "prediction": _seen(view, recogniser, decoded),
                "truth": truth if is_original else None,
            }
        )


def _seen(view: View, recogniser: Recogniser, decoded: Pixels) -> dict[str, object]:
    prepared = recogniser.prepare(decoded) if view.coded_size == "native" else decoded
    prediction = recogniser.predict(to_tensor(prepared))
    width, height = view.size
    if isinstance(prediction, Objects):
        prediction = prediction.scaled(width / prepared.shape[1], height / prepared.shape[0])
    return to_json(prediction, width, height)


class _Original(EvaluatedCodec):
    """No codec: what it decodes is what it was handed; its rows have no bytes."""

    name = ORIGINAL
    version = ""
    settings = (0.0,)

    def __init__(self) -> None:
        self.options = {}
        self._pixels: Pixels | None = None

    def check(self, quality: float) -> None:
        pass

    def encode(self, rgb: Pixels, quality: float) -> bytes:
        self._pixels = rgb
        return b""

    def decode(self, data: bytes) -> Pixels:
        assert self._pixels is not None
        return self._pixels
