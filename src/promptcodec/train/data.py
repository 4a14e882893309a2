"""Training pictures: decoded once to uint8, kept in memory, cropped at random."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from promptcodec.errors import UsageError

EXTENSIONS = {".png", ".jpg", ".jpeg", ".webp", ".avif", ".tif", ".tiff", ".bmp"}


def picture_bytes(sources: Sequence[str | Path]) -> Iterator[bytes]:
    """Encoded pictures of folders (recursively) and tar files, in name order."""
    for source in map(Path, sources):
        if source.is_dir():
            for path in sorted(p for p in source.rglob("*") if p.suffix.lower() in EXTENSIONS):
                yield path.read_bytes()
        elif source.suffix == ".tar" and source.is_file():
            with tarfile.open(source) as tar:
                for member in tar:
                    file = tar.extractfile(member) if Path(member.name).suffix.lower() in EXTENSIONS else None
                    if file is not None:
                        yield file.read()
        else:
            raise UsageError(f"training data {source} is neither a folder nor a .tar file")


def load_pictures(sources: Sequence[str | Path], smallest: int = 1, threads: int = 2) -> list[NDArray[np.uint8]]:
    """All pictures with both sides of at least ``smallest`` pixels, as uint8 (H, W, 3)."""

    def decode(data: bytes) -> NDArray[np.uint8]:
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image.convert("RGB"))

    with ThreadPoolExecutor(threads) as pool:
        pictures = [p for p in pool.map(decode, picture_bytes(sources)) if min(p.shape[:2]) >= smallest]
    if not pictures:
        raise UsageError(f"no picture of at least {smallest} pixels a side in {', '.join(map(str, sources))}")
    return pictures


class CropSampler:
    """Random crops with random downscale and flips, a pure function of (seed, step): resuming needs no state."""

    def __init__(self, pictures: Sequence[NDArray[np.uint8]], patch: int, min_scale: float, seed: int) -> None:
        self.pictures, self.patch, self.min_scale, self.seed = pictures, patch, min_scale, seed
        area = np.array([p.shape[0] * p.shape[1] for p in pictures], dtype=np.float64)
        self.probability = area / area.sum()

    def batch(self, step: int, size: int) -> Tensor:
        """(size, 3, patch, patch) float32 in [0, 1]."""
        rng = np.random.default_rng([self.seed, step])
        chosen = rng.choice(len(self.pictures), size, p=self.probability)
        return torch.stack([self._crop(rng, self.pictures[i]) for i in chosen])

    def _crop(self, rng: np.random.Generator, picture: NDArray[np.uint8]) -> Tensor:
        height, width = picture.shape[:2]
        # Half of the crops stay at full scale: a resampled picture has less noise than a real one.
        scale = 1.0 if rng.random() < 0.5 else rng.uniform(self.min_scale, 1.0)
        side = min(round(self.patch / scale), height, width)
        top, left = rng.integers(height - side + 1), rng.integers(width - side + 1)
        crop = torch.from_numpy(picture[top : top + side, left : left + side].copy()).permute(2, 0, 1).float() / 255
        if side != self.patch:
            crop = F.interpolate(crop[None], (self.patch, self.patch), mode="bilinear", antialias=True)[0]
        if rng.random() < 0.5:
            crop = crop.flip(2)
        if rng.random() < 0.25:
            crop = crop.flip(1)
        return crop
