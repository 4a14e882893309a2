"""Services for the tests of this folder."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from pictures import make_photo
from PIL import Image
from served import Running, running


@pytest.fixture(scope="session")
def service() -> Iterator[Running]:
    """A service with two workers."""
    with running("--workers", "2") as service:
        yield service


@pytest.fixture(scope="session")
def limited(tmp_path_factory) -> Iterator[Running]:
    """A service with one worker and narrow limits, in an empty folder."""
    folder = tmp_path_factory.mktemp("served")
    options = (
        "--workers",
        "1",
        "--max-queue",
        "2",
        "--max-wait",
        "300",
        "--max-pixels",
        "100000",
        "--max-upload",
        "400k",
    )
    with running(*options, "--max-seconds", "15", "--idle-seconds", "1.5", folder=folder) as service:
        yield service


@pytest.fixture(scope="session")
def jpeg() -> bytes:
    """A photo of 208 x 160 pixels."""
    file = io.BytesIO()
    Image.fromarray(make_photo(160, 208)).save(file, "JPEG", quality=95)
    return file.getvalue()
