"""Words rendered over photos: pictures whose text is known, from any pictures."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from promptcodec.errors import UsageError
from promptcodec.evaluate.data.datasets import read_picture
from promptcodec.tasks.rapidocr import BAND

WORDS = (
    "harbour", "silver", "morning", "window", "garden", "station", "orange", "bridge", "market", "winter", "planet",
    "engine", "letter", "forest", "island", "camera", "doctor", "kitchen", "mountain", "number", "office", "paper",
    "quarter", "railway", "school", "theatre", "village", "yellow", "airport", "bakery", "copper", "danger", "europe",
    "flower", "gallery", "hotel", "insect", "jacket", "kingdom", "library", "museum", "north", "open", "police",
    "river", "street", "ticket", "valley", "weather", "closed", "parking", "entrance", "summer", "bicycle",
)  # fmt: skip
WIDTH, BANDS = 192, 5
_FONT = 26  # pixels
_CONTRAST = 125  # between a word and the mean of what lies below it, of 255


def write_word_pictures(photos: Sequence[Path], folder: Path) -> list[Path]:
    """Cut a piece of 192x240 out of the middle of every photo, render a word over each of its five bands, and write
    them as PNG with their words in words.csv; returns the pictures, always the same for the same photos.

    Raises UsageError for photos that are smaller.
    """
    font = ImageFont.load_default(_FONT)
    rows, paths = [("file", "text")], []
    for index, photo in enumerate(photos):
        picture = read_picture(photo)
        pixels = picture.pixels()
        height, width, _ = pixels.shape
        if width < WIDTH or height < BAND * BANDS:
            smallest = f"{WIDTH}x{BAND * BANDS}"
            raise UsageError(f"{photo} is {width}x{height}, too small for words: expected {smallest} or more")
        top, left = (height - BAND * BANDS) // 2, (width - WIDTH) // 2
        piece = Image.fromarray(pixels[top : top + BAND * BANDS, left : left + WIDTH])
        random = np.random.default_rng(int(picture.sha256[:8], 16))
        words = [WORDS[i] for i in random.choice(len(WORDS), BANDS, replace=False)]
        for band, word in enumerate(words):
            _render(piece, word, band * BAND, font, random)
        paths.append(folder / f"{index:04d}-{photo.stem}.png")
        piece.save(paths[-1])
        rows.append((paths[-1].name, " ".join(words)))
    with (folder / "words.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    return paths


def _render(
    piece: Image.Image, word: str, top: int, font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
    random: np.random.Generator,
) -> None:  # fmt: skip
    """Write a word at a random place of its band, in a grey that stands out by a fixed contrast."""
    below = np.asarray(piece.crop((0, top, WIDTH, top + BAND)).convert("L")).mean()
    grey = round(below + _CONTRAST if below < 128 else below - _CONTRAST)
    x0, y0, x1, y1 = font.getbbox(word)
    x = int(random.integers(4, max(5, WIDTH - 4 - int(x1 - x0))) - x0)
    y = top + int(random.integers(4, max(5, BAND - 4 - int(y1 - y0))) - y0)
    ImageDraw.Draw(piece).text((x, y), word, (grey, grey, grey), font)
