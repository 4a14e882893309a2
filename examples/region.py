"""Spend a file's bytes on a region: given as a rectangle, then as a mask.

python examples/region.py [PICTURE [OUTPUT_FOLDER]]
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

import promptcodec


def error(reference: np.ndarray, file: bytes, inside: np.ndarray) -> tuple[float, float]:
    """Mean squared error of the decoded picture, inside the mask (H, W) and outside of it."""
    squares = ((np.asarray(promptcodec.decode(file), float) - reference) ** 2).mean(axis=2)
    return float(squares[inside].mean()), float(squares[~inside].mean())


def main() -> None:
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("photo.jpg")
    folder = Path(sys.argv[2]) if len(sys.argv) > 2 else Path("region-output")
    folder.mkdir(parents=True, exist_ok=True)
    image = Image.open(path).convert("RGB")
    width, height = image.size
    x, y, w, h = width // 4, height // 4, width // 2, height // 2

    rows, columns = np.ogrid[:height, :width]
    ellipse = ((columns - width / 2) / (w / 2)) ** 2 + ((rows - height / 2) / (h / 2)) ** 2 <= 1
    size = len(promptcodec.encode(image, 30))  # all three files come out as large as this one, or a little smaller
    files = {
        "none": promptcodec.encode(image, target_size=size),
        "rectangle": promptcodec.encode(image, target_size=size, roi=f"{x},{y},{w},{h}"),
        "mask": promptcodec.encode(image, target_size=size, roi=ellipse),
    }
    for name, file in files.items():
        (folder / f"{name}.ptc").write_bytes(file)
        inside, outside = error(np.asarray(image, float), file, ellipse)
        print(f"roi {name:10} {len(file):7} bytes, squared error {inside:7.1f} inside, {outside:7.1f} outside")


if __name__ == "__main__":
    main()
