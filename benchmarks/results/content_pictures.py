"""Draw pictures that are no photographs: a screenshot, line art, icons and gradients.

    python -m benchmarks.results.content_pictures FOLDER

All are drawn here, from a fixed seed, so that they are free to use and the same each time with the same Pillow.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

INK, PAPER, BLUE, GREY = (32, 33, 36), (255, 255, 255), (26, 115, 232), (218, 220, 224)


def screenshot(width: int = 960, height: int = 640) -> Image.Image:
    """A window with a menu, a list and text in several sizes."""
    image = Image.new("RGB", (width, height), (241, 243, 244))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, width, 40), fill=(60, 64, 67))
    for index, name in enumerate(("File", "Edit", "View", "Layers", "Filters", "Help")):
        draw.text((16 + 90 * index, 11), name, (232, 234, 237), ImageFont.load_default(16))
    draw.rectangle((0, 40, 220, height), fill=PAPER, outline=GREY)
    for index in range(20):
        top = 52 + 28 * index
        if index == 4:
            draw.rectangle((6, top - 4, 214, top + 20), fill=(232, 240, 254))
        draw.ellipse((14, top, 28, top + 14), fill=(BLUE, (217, 48, 37), (30, 142, 62))[index % 3])
        draw.text((38, top - 1), f"Measurement {index + 1:02}", BLUE if index == 4 else INK, ImageFont.load_default(14))
    draw.rounded_rectangle((240, 60, width - 20, height - 20), 10, fill=PAPER, outline=GREY)
    words = ["rate", "distortion", "picture", "prompt", "region", "window"]
    words += ["latent", "decoder", "quality", "file", "colour", "edge"]
    rng = np.random.default_rng(7)
    for index, size in enumerate((28, 20, 16, 16, 14, 14, 14, 12, 12, 12, 11, 11, 11, 11)):
        text = " ".join(rng.choice(words, 40 * 12 // size))
        draw.text((260, 80 + 36 * index), text[: 1180 // size], INK, ImageFont.load_default(size))
    return image


def line_art(width: int = 768, height: int = 768) -> Image.Image:
    """Black curves of one to three pixels on white: rosettes and a grid."""
    image = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(image)
    turns = np.linspace(0, 2 * np.pi, 3000)
    for index, (inner, petals) in enumerate(((0.2, 5), (0.35, 7), (0.5, 9), (0.7, 12), (0.9, 17))):
        radius = 360 * inner * (1 + 0.12 * np.sin(petals * turns))
        points = np.stack([384 + radius * np.cos(turns), 384 + radius * np.sin(turns)], 1)
        draw.line([tuple(point) for point in points], fill=INK, width=1 + index % 3)
    for offset in range(0, 769, 96):
        draw.line((offset, 0, 768 - offset, 768), fill=INK)
        draw.line((0, offset, 768, 768 - offset), fill=INK)
    return image


def icons(columns: int = 8, rows: int = 6, side: int = 96) -> Image.Image:
    """Flat shapes in few colours, drawn at four times the size and reduced, so that edges are smooth."""
    large = 4 * side
    image = Image.new("RGB", (columns * large, rows * large), PAPER)
    draw = ImageDraw.Draw(image)
    rng = np.random.default_rng(3)
    palette = [(234, 67, 53), (251, 188, 5), (52, 168, 83), (66, 133, 244), (103, 58, 183), (0, 150, 136)]
    for index in range(columns * rows):
        x, y = index % columns * large, index // columns * large
        outer, inner = (palette[i] for i in rng.choice(len(palette), 2, replace=False))
        box = (x + 40, y + 40, x + large - 40, y + large - 40)
        core = (x + 130, y + 130, x + large - 130, y + large - 130)
        (draw.ellipse if index % 3 else draw.rectangle)(box, fill=outer)
        if index % 4 == 0:
            draw.regular_polygon((x + large / 2, y + large / 2, 110), 3 + index % 5, fill=PAPER)
        elif index % 4 == 1:
            draw.rounded_rectangle(core, 30, fill=inner)
        else:
            draw.arc(core, 20 * index, 20 * index + 250, fill=PAPER, width=36)
    return image.resize((columns * side, rows * side), Image.Resampling.BOX)


def gradients(width: int = 768, height: int = 512) -> Image.Image:
    """Smooth ramps of colour: one along each side, two round, one of the hues."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    round_one, round_two = (np.hypot(x - cx, y - cy) for cx, cy in ((0.3, 0.4), (0.8, 0.7)))
    planes = [0.5 + 0.4 * np.cos(3 * x + 2 * y), 0.3 + 0.6 * np.exp(-4 * round_one**2), 0.2 + 0.7 * y * round_two]
    return Image.fromarray((255 * np.stack(planes, 2).clip(0, 1)).round().astype(np.uint8))


PICTURES: dict[str, Callable[[], Image.Image]] = {
    "screenshot": screenshot,
    "line-art": line_art,
    "icons": icons,
    "gradients": gradients,
}


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, draw in PICTURES.items():
        draw().save(folder / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
