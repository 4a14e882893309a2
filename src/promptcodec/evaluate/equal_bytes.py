"""Another codec's best file within a size, and how good it is: what a picture looks like at equal bytes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from promptcodec.errors import TargetError
from promptcodec.evaluate.codecs.evaluated_codec import EvaluatedCodec
from promptcodec.quality.measures import Measures, measures
from promptcodec.quality.pixels import Pixels

QUICK_PEERS = {"jpeg": "JPEG", "webp": "WebP", "avif-s8": "AVIF", "jpegxl": "JPEG XL"}
"""Names for ``open_codec`` of peers that are quick enough to wait for, with what they are called. AVIF is at speed 8,
where the usual 6 gives smaller files in several times the time; JPEG XL at effort 7, WebP at method 6."""

MOST_ENCODES = 9
CLOSE = 0.01  # of the size, below it: no closer file is looked for
_FIRST = 0.4  # of the way from the smallest file's setting to the largest's, where nothing is known of a codec
# Settings with the bits per pixel of a typical photo, medians over every third picture of Kodak: where to look first,
# and how the size goes from there. That saves a third of the encodes, and decides nothing else.
_TYPICAL = {
    "jpeg": ((1, 0.09), (10, 0.24), (30, 0.56), (50, 0.78), (70, 1.1), (85, 1.6), (95, 3.0), (100, 6.0)),
    "webp": ((0, 0.09), (20, 0.3), (50, 0.56), (75, 0.82), (90, 1.8), (97, 3.2), (100, 3.7)),
    "avif-s8": ((0, 0.07), (20, 0.16), (40, 0.35), (60, 0.83), (80, 1.6), (92, 2.7), (100, 5.8)),
    "jpegxl": ((25, 0.11), (12, 0.2), (6, 0.37), (3, 0.67), (1.5, 1.2), (0.7, 2.3), (0.2, 5.0), (0.01, 16)),
}


@dataclass(frozen=True)
class PeerFile:
    """A file of another codec: its setting and bytes, the decoded uint8 (H, W, 3) pixels, and its measures."""

    codec: str
    setting: float
    data: bytes
    pixels: Pixels
    measures: Measures


def peer_file(codec: EvaluatedCodec, pixels: Pixels, size: int) -> PeerFile:
    """Return the best file of ``codec`` that is not larger than ``size`` bytes, decoded and measured.

    ``pixels``: uint8 (H, W, 3). Raises TargetError where even the codec's smallest file is larger.
    """
    setting, data = largest_within(codec, pixels, size)
    decoded = codec.decode(data)
    return PeerFile(codec.name, setting, data, decoded, measures(pixels, decoded))


def largest_within(codec: EvaluatedCodec, pixels: Pixels, size: int) -> tuple[float, bytes]:
    """Return the setting and the file of ``codec`` that comes closest to ``size`` bytes without passing it, of
    MOST_ENCODES at most.

    Raises TargetError where even the codec's smallest file is larger.
    """
    scale = _Scale(codec, size / pixels[..., 0].size)
    files: dict[float, bytes] = {}
    for _ in range(MOST_ENCODES - 1):  # and one that is certainly small enough, if there is one
        position = scale.next(files, size)
        if position is None:
            break
        files[position] = codec.encode(pixels, scale.setting(position))
        if (1 - CLOSE) * size <= len(files[position]) <= size:
            break
    within = [position for position, data in files.items() if len(data) <= size]
    if not within:
        if scale.smallest not in files:
            files[scale.smallest] = codec.encode(pixels, scale.setting(scale.smallest))
        if (least := len(files[scale.smallest])) > size:
            raise TargetError(f"the smallest file that {codec.name} makes of this picture has {least:,} bytes")
        within = [scale.smallest]
    best = max(within, key=lambda position: len(files[position]))
    return scale.setting(best), files[best]


class _Scale:
    """Settings of a codec as positions, on which the logarithm of the file's size is close to a line."""

    def __init__(self, codec: EvaluatedCodec, density: float) -> None:
        """``density``: bytes per pixel that a file should have."""
        self._whole = codec.whole_settings
        ends = codec.extremes if self._whole else tuple(map(math.log, codec.extremes))
        # Positions grow with the file, which settings that are distances do not.
        self._sign = 1 if ends[0] < ends[1] else -1
        self.smallest, self._largest = (self._sign * end for end in ends)
        self._log_bits = math.log(8 * density)
        typical = _TYPICAL.get(codec.name, ())
        self._positions = [self._sign * (setting if self._whole else math.log(setting)) for setting, _ in typical]
        self._logs = [math.log(bits) for _, bits in typical]

    def _typical(self, log_bits: float) -> float:
        """Return where a typical photo has so many bits per pixel."""
        return float(np.interp(log_bits, self._logs, self._positions))

    def setting(self, position: float) -> float:
        value = self._sign * position
        return value if self._whole else math.exp(value)

    def next(self, files: dict[float, bytes], size: int) -> float | None:
        """Return where to look next; None where no position is left."""
        below = max((p for p, data in files.items() if len(data) <= size), default=None)
        above = min((p for p, data in files.items() if len(data) > size), default=None)
        if below is not None and above is not None and below > above:
            return None  # sizes that do not grow with the setting: what is known is close enough
        if not files:
            first = self._typical(self._log_bits) if self._logs else self._between(_FIRST)
            return self._placed(first, None, None)
        if below is None or above is None:
            end = self.smallest if below is None else self._largest
            known = min(files) if below is None else max(files)
            if known == end:
                return None
            return self._placed(self._extrapolated(files, known, end, size), below, above)
        low, high = (math.log(len(files[position])) for position in (below, above))
        # A little below the size itself, as what lies above it counts for nothing.
        part = (math.log(size) - CLOSE / 2 - low) / (high - low)
        return self._placed(below + min(max(part, 0.02), 0.98) * (above - below), below, above)

    def _between(self, part: float) -> float:
        return self.smallest + part * (self._largest - self.smallest)

    def _extrapolated(self, files: dict[float, bytes], known: float, end: float, size: int) -> float:
        """Follow the line through the two outermost files, or typical photos from one; to the end where it is near."""
        others = sorted(files, key=lambda position: abs(position - known))[1:2]
        goal = (known + end) / 2
        if self._logs:
            unusual = math.log(len(files[known]) / size) + self._log_bits
            unusual -= float(np.interp(known, self._positions, self._logs))
            goal = self._typical(self._log_bits - CLOSE / 2 - unusual)
        if others:
            slope = math.log(len(files[known]) / len(files[others[0]])) / (known - others[0])
            if slope > 0:
                goal = known + 1.2 * (math.log(size / len(files[known])) - CLOSE / 2) / slope
        reach = abs(end - known)
        return end if abs(goal - known) > 0.9 * reach or (goal - known) * (end - known) <= 0 else goal

    def _placed(self, position: float, below: float | None, above: float | None) -> float | None:
        """On a setting that the codec has, between those that are known; None where there is none."""
        if not self._whole:
            narrow = below is not None and above is not None and above - below < 1e-4
            return None if narrow else position
        low = self.smallest if below is None else below + 1
        high = self._largest if above is None else above - 1
        return None if low > high else min(max(round(position), low), high)
