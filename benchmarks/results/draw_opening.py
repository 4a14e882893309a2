"""Draw the figure that opens the README: equal bytes by JPEG and by us, a region, a look.

    python -m benchmarks.results.draw_opening    # writes docs/figures/opening.jpg; half a minute

All panels are crops of examples/photo.jpg, decoded with the default model. Each column compares two files: JPEG at the
smallest quality whose file is no smaller than ours, a file with and without ``roi`` at no more bytes, and one file
decoded with two looks. The titles hold what was measured.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import promptcodec

ROOT = Path(__file__).resolve().parents[2]
OUTPUT = ROOT / "docs" / "figures" / "opening.jpg"
PANEL = (300, 225)  # width, height of a panel in pixels; crops of half of that are enlarged
CORNER = (425, 140)  # left, top of the crop: the red parrot's eye and beak
HEAD, GAP = 24, 6
QUALITY = 20.0

Box = tuple[int, int, int, int]


def jpeg_as_large(image: Image.Image, size: int) -> tuple[Image.Image, int]:
    """Compress as JPEG, at the smallest quality whose file has at least ``size`` bytes; the picture and its bytes."""
    for quality in range(1, 96):
        file = io.BytesIO()
        image.save(file, "jpeg", quality=quality, optimize=True)
        if file.tell() >= size:
            break
    return Image.open(file).convert("RGB"), file.tell()


def psnr(reference: Image.Image, decoded: Image.Image) -> float:
    """Over RGB, in dB."""
    difference = np.asarray(reference, np.float64) - np.asarray(decoded.convert("RGB"), np.float64)
    return float(10 * np.log10(255**2 / np.mean(difference**2)))


def panels(image: Image.Image, box: Box) -> list[tuple[str, Image.Image]]:
    """Titles and whole pictures, column by column, the upper one first; ``box`` (left, top, right, bottom) is shown."""
    region = f"{box[0]},{box[1]},{box[2] - box[0]},{box[3] - box[1]}"
    plain = promptcodec.encode(image, QUALITY)
    steered = promptcodec.encode(image, target_size=len(plain), roi=region)
    jpeg, jpeg_size = jpeg_as_large(image, len(plain))
    decoded, with_region = promptcodec.decode(plain), promptcodec.decode(steered)

    def inside(picture: Image.Image) -> str:
        return f"{psnr(image.crop(box), picture.crop(box)):.1f} dB here"

    return [
        (f"JPEG, {jpeg_size:,} bytes, {psnr(image, jpeg):.1f} dB", jpeg),
        (f"promptcodec, {len(plain):,} bytes, {psnr(image, decoded):.1f} dB", decoded),
        (f"no region, {len(plain):,} bytes, {inside(decoded)}", decoded),
        (f"this region, {len(steered):,} bytes, {inside(with_region)}", with_region),
        ("one file, look 0", promptcodec.decode(plain, look=0)),
        ("the same file, look 1", promptcodec.decode(plain, look=1)),
    ]


def main() -> None:
    image = Image.open(ROOT / "examples" / "photo.jpg").convert("RGB")
    box = (*CORNER, CORNER[0] + PANEL[0] // 2, CORNER[1] + PANEL[1] // 2)
    width, height = PANEL[0] + GAP, PANEL[1] + HEAD
    sheet = Image.new("RGB", (3 * width - GAP, 2 * height), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for index, (title, picture) in enumerate(panels(image, box)):
        x, y = index // 2 * width, index % 2 * height
        draw.text((x + 2, y + 4), title, fill="black", font=font)
        shown = picture.convert("RGB").crop(box).resize(PANEL, Image.Resampling.LANCZOS)
        sheet.paste(shown, (x, y + HEAD))
        print(title)
    sheet.save(OUTPUT, quality=88, optimize=True)
    print(f"{OUTPUT.relative_to(ROOT)}: {OUTPUT.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
