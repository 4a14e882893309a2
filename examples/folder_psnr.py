"""Encode and decode every picture of a folder; print the bytes and the PSNR of each, and the means.

python examples/folder_psnr.py [FOLDER [QUALITY]]
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

import promptcodec

PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff"}


def psnr(reference: Image.Image, decoded: Image.Image) -> float:
    """Over RGB, in dB, of two pictures of 8 bits a sample."""
    difference = np.asarray(reference.convert("RGB"), float) - np.asarray(decoded.convert("RGB"), float)
    return float(10 * np.log10(255**2 / max(np.mean(difference**2), 1e-9)))


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    quality = float(sys.argv[2]) if len(sys.argv) > 2 else 50.0
    rows = []
    for path in sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURES):
        image = Image.open(path).convert("RGB")
        data = promptcodec.encode(image, quality)
        score = psnr(image, promptcodec.decode(data))
        rate = 8 * len(data) / (image.width * image.height)
        rows.append((rate, score))
        print(f"{path.name:24} {len(data):9} bytes  {rate:6.3f} bit/pixel  {score:6.2f} dB")
    if not rows:
        raise SystemExit(f"{folder} has no pictures ({', '.join(sorted(PICTURES))})")
    rate, score = np.mean(rows, axis=0)
    print(f"{'mean':24} {'':15}  {rate:6.3f} bit/pixel  {score:6.2f} dB")


if __name__ == "__main__":
    main()
