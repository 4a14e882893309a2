"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with test sets and golden vectors that are not part of the repository.

    Taken from ``PROMPTCODEC_SHARED`` or from ``shared`` beside the checkout; the test is skipped where neither exists.
    """
    folder = Path(os.environ.get("PROMPTCODEC_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"needs the test data folder {folder} (set PROMPTCODEC_SHARED)")
    return folder
