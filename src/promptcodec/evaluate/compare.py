"""One picture through several codecs at one file size."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

from promptcodec.evaluate.codecs.evaluated_codec import EvaluatedCodec
from promptcodec.evaluate.data.datasets import PictureFile
from promptcodec.evaluate.judge import Judge
from promptcodec.evaluate.results import Row
from promptcodec.evaluate.runner import measure_one
from promptcodec.quality.pixels import Mask, Pixels

_BISECTIONS = 12  # enough for 100 whole qualities, and for 0.1 % of any rate or distance
_CLOSE = 0.005  # of the size: no closer file is looked for


@dataclass(frozen=True)
class Contender:
    """A codec's file for the picture: what was measured, and the decoded uint8 (H, W, 3) pixels."""

    row: Row
    pixels: Pixels


def compare(
    picture: PictureFile, ours: EvaluatedCodec, setting: float, peers: Sequence[EvaluatedCodec], judge: Judge,
    mask: Mask | None = None,
) -> Iterator[Contender]:  # fmt: skip
    """Measure ours at ``setting``, then every peer at the setting whose file is closest to ours in size.

    ``judge`` computes metrics beside PSNR and MS-SSIM; ``mask``: what matters, (H, W), for codecs and metrics that take
    it. Raises PromptcodecError where a codec fails on the picture.
    """
    pixels = picture.pixels()
    masked = None if mask is None else (sha256(mask.tobytes()).hexdigest(), mask)
    first = Contender(*measure_one(ours, setting, picture, pixels, judge, masked))
    yield first
    for peer in peers:
        peer.use_mask(mask)
        closest = closest_setting(peer, pixels, first.row.bytes)
        yield Contender(*measure_one(peer, closest, picture, pixels, judge, masked))


def closest_setting(codec: EvaluatedCodec, pixels: Pixels, size: int) -> float:
    """Return the setting whose file is closest to ``size`` bytes, by bisection.

    An end of the codec's range where the size lies beyond it; the one setting of a codec that has no other.
    """
    if len(codec.settings) == 1:
        return codec.settings[0]
    smallest, largest = codec.extremes
    sizes: dict[float, int] = {}

    def bytes_at(setting: float) -> int:
        if setting not in sizes:
            sizes[setting] = len(codec.encode(pixels, setting))
        return sizes[setting]

    low, high = smallest, largest
    if bytes_at(low) >= size:
        return low
    for _ in range(_BISECTIONS):
        # Qualities are halved as they are, rates and distances, which span decades, on a logarithmic scale.
        if codec.whole_settings:
            middle = (low + high) // 2
        elif codec.quality_scale or min(low, high) <= 0:
            middle = (low + high) / 2
        else:
            middle = math.sqrt(low * high)
        if middle in (low, high):
            break
        length = bytes_at(middle)
        if abs(length - size) <= _CLOSE * size:
            return middle
        low, high = (middle, high) if length < size else (low, middle)
    bytes_at(high)
    return min(sizes, key=lambda setting: abs(sizes[setting] - size))
