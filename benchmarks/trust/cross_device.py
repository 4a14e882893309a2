"""Files made on one device, decoded on another: the same latents, pixels at most a level apart.

    python -m benchmarks.trust.cross_device encode KODAK_FOLDER OUT --device cuda   # on the one machine
    python -m benchmarks.trust.cross_device check OUT --device cpu                  # on the other, with OUT copied over

``encode`` writes .ptc files of every picture, with the pixels that its own device decodes (lossless WebP); ``check``
decodes the files again. A file's own checksum proves its latents: what decodes at all has them right. Run it both ways.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image

import promptcodec
from promptcodec.errors import PromptcodecError
from promptcodec.evaluate.data.datasets import find_pictures

QUALITIES = (10, 50, 90)


def encode(codec: promptcodec.Codec, pictures: Path, out: Path) -> None:
    """Files and decoded pixels of every picture at three qualities into ``out``."""
    out.mkdir(parents=True, exist_ok=True)
    for picture in find_pictures([pictures]):
        for quality in QUALITIES:
            data = codec.encode(picture, quality)
            target = out / f"{picture.stem}-{quality}.ptc"
            target.write_bytes(data)
            codec.decode(data).save(target.with_suffix(".webp"), lossless=True, quality=0)


def check(codec: promptcodec.Codec, out: Path) -> dict[str, float]:
    """Decode all files of ``out`` and compare the pixels with those stored beside them."""
    files = sorted(out.glob("*.ptc"))
    failed, largest, differing, pixels = 0, 0, 0, 0
    for file in files:
        try:
            decoded = np.asarray(codec.decode(file.read_bytes()), dtype=np.int16)
        except PromptcodecError as error:
            failed += 1
            print(f"{file.name}: {error}")
            continue
        with Image.open(file.with_suffix(".webp")) as image:
            difference = np.abs(decoded - np.asarray(image.convert("RGB"), dtype=np.int16))
        largest = max(largest, int(difference.max()))
        differing += int((difference > 0).sum())
        pixels += difference.size
    return {"files": len(files), "failed": failed, "largest_difference": largest,
            "differing_values_percent": round(100 * differing / max(pixels, 1), 4)}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["encode", "check"])
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--model")
    options = parser.parse_args()
    codec = promptcodec.load(options.model, options.device)
    if options.verb == "encode":
        encode(codec, *options.folders)
    else:
        print(json.dumps(check(codec, *options.folders)))


if __name__ == "__main__":
    main()
