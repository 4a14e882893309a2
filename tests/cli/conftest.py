"""The command line in this process, and a folder to run it on."""

import sys

import pytest
from PIL import Image

from promptcodec.cli import app


@pytest.fixture
def run(monkeypatch, capfd):
    """Run the command line in this process: (exit code, standard output, standard error)."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["promptcodec", *map(str, arguments)])
        try:
            app.main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
        out, err = capfd.readouterr()
        assert "Traceback" not in out + err
        return code, out, err

    return call


@pytest.fixture
def folder(tmp_path, photo):
    """A folder with three pictures: a.png, b.jpg, sub/c.png."""
    (tmp_path / "sub").mkdir()
    Image.fromarray(photo).save(tmp_path / "a.png")
    Image.fromarray(photo[:96, :128]).save(tmp_path / "b.jpg", quality=95)
    Image.fromarray(photo[:64, :64]).save(tmp_path / "sub" / "c.png")
    return tmp_path
