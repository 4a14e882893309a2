"""A folder to run the command line on."""

import pytest
from PIL import Image


@pytest.fixture
def folder(tmp_path, photo):
    """A folder with three pictures: a.png, b.jpg, sub/c.png."""
    (tmp_path / "sub").mkdir()
    Image.fromarray(photo).save(tmp_path / "a.png")
    Image.fromarray(photo[:96, :128]).save(tmp_path / "b.jpg", quality=95)
    Image.fromarray(photo[:64, :64]).save(tmp_path / "sub" / "c.png")
    return tmp_path
