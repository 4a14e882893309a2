"""What the package carries: it is downloaded and installed as a whole, weights included."""

from pathlib import Path

import promptcodec

LARGEST = 30 * 2**20  # bytes


def test_the_package_stays_small():
    """All of its files; the wheel, which compresses them, is smaller still."""
    folder = Path(promptcodec.__file__).parent
    sizes = {
        path.relative_to(folder): path.stat().st_size
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert Path("store/weights/nano.safetensors") in sizes
    largest = sorted(sizes, key=lambda path: -sizes[path])[:5]
    assert sum(sizes.values()) < LARGEST, f"the largest: {', '.join(map(str, largest))}"
