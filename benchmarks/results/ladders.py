"""The settings of every codec that write_results.py measures, by set of pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Ladders = Mapping[str, Sequence[float]]  # settings by codec

LADDERS: Ladders = {
    "promptcodec": (0, 10, 25, 40, 55, 70, 85, 100),
    "promptcodec:small": (0, 10, 25, 40, 55, 70, 85, 100),
    "jpeg": (5, 12, 25, 40, 60, 75, 88, 95),
    "webp": (0, 10, 30, 50, 70, 80, 90, 97),
    "jpeg2000": (0.08, 0.15, 0.25, 0.4, 0.65, 1, 1.5, 2.2),
    "jpegxl": (20, 13, 8, 5, 3, 1.8, 1, 0.5),
    "avif": (8, 16, 26, 38, 50, 62, 76, 88),
    "avif-psnr": (8, 16, 26, 38, 50, 62, 76, 88),
}
KODAK: Ladders = {
    "promptcodec": (0, 25, 40, 55, 70, 85),
    "promptcodec:small": (0, 25, 40, 55, 70, 85),
    "jpeg": (5, 12, 25, 40, 60, 75),
    "webp": (0, 10, 30, 50, 70, 90),
    "jpeg2000": (0.15, 0.25, 0.4, 0.65, 1, 1.5),
    "jpegxl": (20, 13, 8, 5, 3, 1.8),
    "avif": (8, 26, 38, 50, 62, 76),
    "avif-psnr": (8, 16, 26, 38, 50, 62),
    "heic": (4, 12, 22, 32, 42, 52),
    "heic-psnr": (4, 12, 22, 32, 42, 52),
}
VVC = {"vvc": (43, 37, 31, 25)}
DISTS = {
    "promptcodec": (0, 25, 40, 55),
    "promptcodec:small": (0, 25, 40, 55),
    "jpeg": (12, 25, 40, 60),
    "webp": (0, 10, 30, 50),
    "jpeg2000": (0.15, 0.25, 0.4, 0.65),
    "jpegxl": (20, 13, 8, 5),
    "avif": (8, 26, 38, 50),
    "avif-psnr": (8, 16, 26, 38),
    "heic": (12, 22, 32, 42),
}
CID22 = {
    "promptcodec": (0, 25, 40, 70),
    "promptcodec:small": (0, 25, 40, 70),
    "jpeg": (12, 25, 40, 75),
    "webp": (0, 10, 30, 70),
    "jpeg2000": (0.15, 0.25, 0.4, 1),
    "jpegxl": (20, 8, 5, 1.8),
    "avif": (8, 26, 38, 62),
    "avif-psnr": (8, 16, 26, 50),
    "heic": (4, 12, 22, 42),
}
LOOKS = (0, 0.25, 0.5, 0.75, 1)
LOOK, LOOK_CHECKED = (0, 25, 40, 55, 70, 85), (0, 25, 55)
