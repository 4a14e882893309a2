"""Pictures that tests make."""

import tempfile
from pathlib import Path

import numpy as np


def make_photo(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Something like a photo, uint8 (height, width, 3): noise with a falling spectrum, and an edge."""
    rng = np.random.default_rng(seed)
    fy, fx = np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None]
    spectrum = np.fft.fft2(rng.normal(size=(3, height, width))) / np.hypot(np.hypot(fy, fx), 0.01) ** 1.3
    picture = np.fft.ifft2(spectrum).real.transpose(1, 2, 0)
    picture = 128 + 45 * (picture - picture.mean()) / max(picture.std(), 1e-9)
    picture[height // 3 :, width // 2 :] += 40
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def below_temporary(path: Path) -> list[Path]:
    """The folders of a test above ``path``, for another user to be let in: a worker's own lies one deeper."""
    top = Path(tempfile.gettempdir()).resolve()
    return [parent for parent in path.resolve().parents if top in parent.parents]


def nearly_equal(one, other):
    """Whether two pictures differ by one level at most, which decoding on other threads may do: float32 sums differ."""
    one, other = (np.asarray(picture).astype(np.int16) for picture in (one, other))
    return one.shape == other.shape and int(np.abs(one - other).max()) <= 1
