"""The programs in docs/serve.md, run as they stand there against a service."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pictures import nearly_equal
from PIL import Image

import promptcodec

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "serve.md").read_text()


@pytest.fixture
def folder(tmp_path, jpeg):
    """A folder with the files that the programs name."""
    (tmp_path / "photo.jpg").write_bytes(jpeg)
    Image.new("L", (208, 160), 128).save(tmp_path / "mask.png")
    return tmp_path


def blocks(service, language):
    """Code of a language, with the address of ``service``."""
    found = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.M | re.S)
    return [block.replace("localhost:8000", f"localhost:{service.port}") for block in found if ":8000" in block]


def run(command, folder, **extra):
    subprocess.run(command, cwd=folder, check=True, timeout=300, **extra)


def test_python(service, folder, jpeg):
    (program,) = blocks(service, "python")
    run([sys.executable, "-c", program], folder)
    assert (folder / "photo.ptc").read_bytes() == promptcodec.encode(jpeg, 60)


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_javascript(service, folder, jpeg):
    (program,) = blocks(service, "js")
    run(["node", "--input-type=module"], folder, input=program.encode())
    assert (folder / "photo.ptc").read_bytes() == promptcodec.encode(jpeg, 60)


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_curl(service, folder, jpeg):
    (program,) = blocks(service, "sh")
    encode, decode, with_region = (line.replace("curl", "curl --fail --silent", 1) for line in program.splitlines())
    run(["sh", "-c", encode], folder)
    data = (folder / "photo.ptc").read_bytes()
    assert data == promptcodec.encode(jpeg, 60)
    run(["sh", "-c", decode], folder)
    with Image.open(folder / "photo.webp") as image:
        assert image.format == "WEBP" and nearly_equal(image, promptcodec.decode(data, look=1))
    response = subprocess.run(["sh", "-c", with_region.replace("40000", "6000")], cwd=folder, check=True, timeout=300)
    assert response.returncode == 0
    mask = io.BytesIO((folder / "mask.png").read_bytes())
    expected = promptcodec.encode(jpeg, target_size=6000, roi=Image.open(mask))
    assert (folder / "photo.ptc").read_bytes() == expected
