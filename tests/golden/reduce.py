"""Make the reduced golden files out of the full ones: ``python tests/golden/reduce.py FOLDER [NAME ...]``.

The full files hold random weights and pictures, drawn from seeds; where a tensor's seed is known, its place in the
stream of that seed is searched, and the tensor is replaced by the place. Of outputs, evenly spread samples and two
sums stay. What is written is read back and compared with the full file before this ends.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from golden import COUNTS, HERE, thinned
from golden.reduced import Tensors, by_law, checksum, drawn, read, stream_length, write
from golden.seeded import BLOCK, Stream, background, picture, steps_between

# Seeds that the weights and inputs of a file were drawn from.
SEEDS = {
    "conditioning": [41, 42, 43, 1409], "elic": [1001], "entropy_models": [1207], "kao_varroi": [505],
    "ngram_nstb": [909, 924, 928], "s2c_blocks": [*range(2, 9), 13, 17, 33, 1309], "song_qmap": [1101],
    "swin_layers": [313, 314], "tic_cam": [707], "tic_hp": [101], "tic_hp_wide": [], "transtic": [303],
}  # fmt: skip

# Seed of a file's picture, and the colours of its rectangles by their corners, from the lowest to the topmost.
PICTURES: dict[str, tuple[int, list[tuple[int, int]]]] = {
    "tic_hp": (1000, [(54, 167), (173, 202), (192, 80), (204, 7), (96, 184)]),
    "tic_hp_wide": (1101, [(106, 263), (109, 131), (202, 24), (170, 290), (159, 241)]),
    "transtic": (2001, [(24, 93), (57, 45), (157, 195), (183, 155), (91, 60)]),
    "kao_varroi": (3003, [(2, 123), (54, 105), (74, 151), (159, 202), (185, 192)]),
    "tic_cam": (4000, [(21, 42), (57, 57), (66, 200), (77, 53), (26, 25)]),
    "elic": (9001, [(6, 120), (39, 42), (42, 78), (68, 76), (71, 35)]),
}
PICTURE = "input/x_u8"

# Outputs that are not needed: no test reads them, or others say the same.
DROPPED = re.compile(
    r".*(/|\.)(y_indexes|bpp|linear|quantized_cdf)"
    r"|output/group\d/(non)?anchor_pass_params|output/eb/(cdf_length|offset)|output/plain/shift4/attention_windows"
    r"|output/(layernorm2d|masked_s2c_conv|sepconv_change|window_attention_h4|y_round)|param/masked_s2c_conv.*"
    r"|param/(layernorm2d|sepconv_change|window_attention_h4).*"
)
WHOLE = re.compile(r"output/(mask/.*|relative_position_index)")  # small when compressed
SMALL = 64  # numbers that are kept as they are
SAMPLES, SAMPLES_OF_MEANS = 32, 12
COUNTED = ("id", "section", "status", "config", "params", "kmac_per_pixel", "tera_mac_1920x1088")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="the full golden files")
    parser.add_argument("names", nargs="*", help="files to make; all by default")
    parser.add_argument("--out", type=Path, default=HERE)
    arguments = parser.parse_args()
    for name in arguments.names or SEEDS:
        target = arguments.out / f"{name}.npz"
        report = reduce(arguments.folder / f"{name}.safetensors", target)
        print(f"{name}: {target.stat().st_size} bytes, {report}", flush=True)
    if not arguments.names:
        reduce_counts(arguments.folder / COUNTS, arguments.out / COUNTS)


def reduce_counts(source: Path, target: Path) -> None:
    models = json.loads(source.read_text())["models"]
    kept = [{key: model[key] for key in COUNTED if key in model} for model in models]
    lines = ",\n".join(json.dumps(model, separators=(",", ":")) for model in kept)
    target.write_text(f'{{"models": [\n{lines}\n]}}\n')


def reduce(source: Path, target: Path) -> str:
    name = source.stem
    with safe_open(source, "np") as file:
        facts = file.metadata()
        tensors = {key: file.get_tensor(key) for key in file.keys() if not DROPPED.fullmatch(key)}  # noqa: SIM118
    numbers = sum(value.size for key, value in tensors.items() if not key.startswith("output/"))
    streams = {seed: Stream(seed, 2 * numbers + 20000) for seed in SEEDS[name]}
    recipe: dict[str, Any] = {key: facts[key] for key in ("model", "repo", "config", "seed") if key in facts}
    recipe |= {"streams": {}, "drawn": [], "pictures": []}
    steps: list[np.ndarray] = []
    stored: Tensors = {}
    for key, value in tensors.items():
        if key.startswith("output/"):
            stored |= samples(key, value)
            continue
        place = find(streams, value)
        if place is None:
            if key != PICTURE or name not in PICTURES:
                stored[key] = value
            continue
        seed, offset, law, apart = place
        recipe["drawn"].append([key, list(value.shape), str(value.dtype), seed, offset, *law])
        needed = recipe["streams"].get(str(seed), 0)
        recipe["streams"][str(seed)] = max(needed, stream_length(offset, value.size))
        steps.append(apart.ravel())
    if name in PICTURES:
        arguments, apart = find_picture(*PICTURES[name], tensors[PICTURE][0])
        recipe["pictures"].append([PICTURE, *arguments])
        steps.append(apart.ravel())
    apart = np.concatenate([np.zeros(0, np.int16), *steps]).astype(np.int16)
    recipe["sha256"] = checksum(drawn(recipe, apart))
    write(target, recipe, apart, stored)
    check(target, tensors)
    kept = sum(value.nbytes for value in stored.values())
    return (
        f"{len(recipe['drawn'])} tensors drawn, {np.count_nonzero(apart)} of {apart.size} numbers moved, {kept} stored"
    )


def check(target: Path, tensors: Tensors) -> None:
    """What is read back must be the full file's, bit for bit."""
    for key, value in read(target).items():
        whole = tensors.get(key)
        if whole is None:
            name = max((name for name in tensors if key.startswith(f"{name}.")), key=len)
            whole = thinned(torch.from_numpy(tensors[name]), key.removeprefix(name)).numpy()
        if value.dtype != whole.dtype or not np.array_equal(value, whole):
            raise SystemExit(f"{target.name}: {key} does not come back as it was")


def samples(key: str, value: np.ndarray) -> Tensors:
    """What stays of an output."""
    if value.size <= SMALL or value.dtype == np.int32 or WHOLE.fullmatch(key):
        return {key: value}
    wanted = SAMPLES_OF_MEANS if key.endswith("mean") else SAMPLES
    step = next(k for k in range(value.size // wanted, value.size) if is_prime(k) and all(s % k for s in value.shape))
    tensor = torch.from_numpy(value)
    return {f"{key}.{suffix}": thinned(tensor, suffix).numpy() for suffix in (f"each{step}", "sums")}


def is_prime(number: int) -> bool:
    return number > 1 and all(number % divisor for divisor in range(2, int(number**0.5) + 1))


Place = tuple[int, int, list[float], np.ndarray]


def find(streams: dict[int, Stream], value: np.ndarray) -> Place | None:
    """Where in which stream a tensor was drawn, by what law, and the steps that are left; None if nowhere."""
    if value.size < BLOCK or value.dtype not in (np.float16, np.float32):
        return None
    for seed, stream in streams.items():
        offset = search(stream, value.ravel()[:BLOCK].astype(np.float64))
        if offset is not None:
            try:
                law, apart = fit(stream.normal(offset, value.size).reshape(value.shape), value)
            except LookupError:
                continue
            return seed, offset, law, apart
    return None


def search(stream: Stream, first: np.ndarray) -> int | None:
    """The offset whose sixteen normal numbers are ``first``, up to scale and mean."""
    a = stream.cosines[:-BLOCK]
    one, two = first[0] - first[1], first[0] - first[2]
    apart = np.abs((a[:-2] - a[1:-1]) * two - (a[:-2] - a[2:]) * one)
    near = np.flatnonzero(apart < 3e-3 * (abs(one) + abs(two)) * (np.abs(a[:-2]) + 1))
    if not near.size or not np.ptp(first):
        return None
    blocks = stream.blocks(near)
    blocks = blocks - blocks.mean(axis=1, keepdims=True)
    centred = first - first.mean()
    likeness = blocks @ centred / np.linalg.norm(blocks, axis=1) / np.linalg.norm(centred)
    best = int(likeness.argmax())
    return int(near[best]) if likeness[best] > 0.9999 else None


def fit(normal: np.ndarray, value: np.ndarray) -> tuple[list[float], np.ndarray]:
    """The law, for the whole tensor or for the halves of an axis, that leaves the fewest steps."""
    laws: list[list[float]] = laws_of(normal, value)
    for axis in range(min(2, value.ndim)):
        if value.shape[axis] % 2 == 0:
            halves = [laws_of(*pair) for pair in zip(np.split(normal, 2, axis), np.split(value, 2, axis), strict=True)]
            laws += [[axis, *first, *second] for first in halves[0] for second in halves[1]]
    candidates = [(law, steps_between(by_law(normal, law), value)) for law in laws]
    law, apart = min(candidates, key=lambda candidate: np.count_nonzero(candidate[1]))
    rounding = value.dtype == np.float32  # of torch's own arithmetic; half precision hides nearly all of it
    if np.abs(apart).max() > np.iinfo(np.int16).max or (not rounding and np.count_nonzero(apart) > 0.1 * value.size):
        raise LookupError
    return law, apart.astype(np.int16)


def laws_of(normal: np.ndarray, value: np.ndarray) -> list[list[float]]:
    """Scale and mean by least squares, and the round figures beside it: gain / sqrt(fan)."""
    columns = np.stack([normal.ravel(), np.ones(normal.size)], axis=1)
    scale, mean = np.linalg.lstsq(columns, value.ravel().astype(np.float64), rcond=None)[0].tolist()
    near = round(mean, 2)
    alone = float(normal.ravel() @ (value.ravel() - near) / np.square(normal).sum())
    laws = [[scale, mean], [alone, near]]
    fans = {1, *value.shape[:2], *(value.size // n for n in value.shape[:2])}
    for fan in sorted(fans):
        for digits in (1, 2, 3):
            gain = round(scale * fan**0.5, digits)
            if gain and abs(gain / fan**0.5 / scale - 1) < 1e-3:
                laws.append([gain / fan**0.5, near])
    return laws


def find_picture(seed: int, corners: list[tuple[int, int]], value: np.ndarray) -> tuple[list[Any], np.ndarray]:
    """The arguments of ``seeded.picture`` and the steps that are left. A colour shows where nothing overlaps."""
    _, height, width = value.shape
    behind = background(seed, height, width)
    covered = np.zeros((height, width), int)
    areas = [(slice(top, top + height // 6), slice(left, left + width // 7)) for top, left in corners]
    for area in areas:
        covered[area] += 1
    rectangles = []
    for (top, left), area in zip(corners, areas, strict=True):
        alone = covered[area] == 1
        inside = [planes[:, *area][:, alone] for planes in (value / 256, behind)]
        bounds = [(inside[0] + half / 256 - 0.4 * inside[1]) / 0.6 for half in (-0.5, 0.5)]
        colour = (bounds[0].max(axis=1) + bounds[1].min(axis=1)) / 2
        rectangles.append([top, left, *(round(c, 7) for c in colour.tolist())])
    apart = value.astype(np.int64) - picture(seed, height, width, rectangles)
    if np.abs(apart).max() > 1:
        raise SystemExit("the picture is not that of its seed")
    return [seed, height, width, rectangles], apart.astype(np.int16)


if __name__ == "__main__":
    main()
