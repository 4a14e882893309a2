"""Time and size of coded alpha planes, beside Pillow's PNG and deflate at level 9 of all three predictors.

    python -m benchmarks.speed.alpha_cost [--side 2048] [--photo FILE] [--level-9]

Masks are made here: dithered, noisy, soft, hard and, with ``--photo``, cut from a picture. ``--level-9`` adds what
exhaustive coding makes of each, which takes minutes.
"""

from __future__ import annotations

import argparse
import io
import time
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageFilter

from promptcodec.picture.alpha import decode_alpha, encode_alpha


def masks(side: int, photo: str | None) -> Iterator[tuple[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side].astype(np.float32)
    ramp = (x + y) / (2 * side)
    levels = (255 * ramp).astype(np.uint8)
    bayer = np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]], np.float32) / 16
    yield "error diffusion", np.asarray(Image.fromarray(levels).convert("1").convert("L"))
    yield "random dither", np.where(ramp > rng.random((side, side), np.float32), 255, 0).astype(np.uint8)
    yield "ordered dither", np.where(ramp > np.tile(bayer, (side // 4 + 1,) * 2)[:side, :side], 255, 0).astype(np.uint8)
    yield "noise", rng.integers(0, 256, (side, side), dtype=np.uint8)
    yield "ramp", levels
    radius = np.hypot(y - side / 2, x - side / 2)
    yield "soft disc", np.clip(255 * (1 - (radius - 0.3 * side) / (0.1 * side)), 0, 255).astype(np.uint8)
    yield "hard disc", np.clip(255 * (0.34 * side - radius), 0, 255).astype(np.uint8)
    shapes = np.zeros((side, side), bool)
    for _ in range(40):
        cx, cy, r = rng.uniform(0, side), rng.uniform(0, side), rng.uniform(0.01, 0.1) * side
        shapes |= np.hypot(y - cy, x - cx) < r
    cutout = Image.fromarray(np.uint8(255 * shapes))
    yield "cut-out", np.asarray(cutout.filter(ImageFilter.GaussianBlur(1.5)))
    yield "drop shadow", np.asarray(cutout.filter(ImageFilter.GaussianBlur(24)))
    if photo is not None:
        grey = np.asarray(Image.open(photo).convert("L").resize((side, side)))
        yield "photo as mask", grey
        yield "photo matte", np.clip((grey.astype(int) - 100) * 6, 0, 255).astype(np.uint8)


def exhaustive(plane: np.ndarray) -> int:
    left, above = plane.copy(), plane.copy()
    left[:, 1:] -= plane[:, :-1]
    above[1:] -= plane[:-1]
    return 1 + min(len(zlib.compress(p.tobytes(), 9)) for p in (plane, left, above))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=2048)
    parser.add_argument("--photo")
    parser.add_argument("--level-9", action="store_true")
    options = parser.parse_args()
    print(f"{'mask':16} {'bytes':>9} {'s':>6} {'PNG bytes':>10} {'s':>6}" + "   level 9 bytes" * options.level_9)
    for name, plane in masks(options.side, options.photo):
        begin = time.process_time()
        data = encode_alpha(plane)
        seconds = time.process_time() - begin
        assert (decode_alpha(data, *plane.shape) == plane).all()
        file, begin = io.BytesIO(), time.process_time()
        Image.fromarray(plane).save(file, "PNG")
        png = time.process_time() - begin
        line = f"{name:16} {len(data):9} {seconds:6.2f} {file.tell():10} {png:6.2f}"
        if options.level_9:
            begin = time.process_time()
            best = exhaustive(plane)
            line += f" {best:9} ({len(data) / best - 1:+.1%}) {time.process_time() - begin:6.2f} s"
        print(line, flush=True)


if __name__ == "__main__":
    main()
