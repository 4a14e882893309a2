"""What leaves the page: files with their metadata, decoded pictures, and snippets that do the same elsewhere."""

from __future__ import annotations

import io
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from page_driver import Page, download, drop, expect, png, settled
from pictures import make_photo
from PIL import Image

import promptcodec
from benchmarks.page_browser import wait_until_measured

pytestmark = pytest.mark.slow

SOURCE = Path(__file__).parents[3] / "src"


def use(page: Page, field: str, value: str) -> None:
    page.locator(field).fill(value)
    settled(page)


def test_snippets_make_the_file_that_the_page_saves(visit, tmp_path):
    page = visit()
    data = png()
    drop(page, "two words.png", data)
    expect(page.locator("#command")).to_contain_text("two words.png")
    page.locator("#model").select_option("small")
    settled(page)
    use(page, "#effort-number", "4")
    use(page, "#quality-number", "35")
    saved = download(page)[1]
    assert saved == promptcodec.encode(data, 35, model="small", effort=4)
    wait_until_measured(page)  # of a model without a look too

    (tmp_path / "two words.png").write_bytes(data)
    environment = os.environ | {"PYTHONPATH": str(SOURCE)}
    words = shlex.split(page.locator("#command").text_content())
    assert words[:2] == ["promptcodec", "encode"]
    subprocess.run([sys.executable, "-m", *words], cwd=tmp_path, env=environment, check=True, capture_output=True)
    assert (tmp_path / "two words.ptc").read_bytes() == saved
    script = page.locator("#python").text_content() + '\nopen("python.ptc", "wb").write(data)\n'
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment, check=True)
    assert (tmp_path / "python.ptc").read_bytes() == saved


def test_snippets_are_copied(visit):
    page = visit(permissions=["clipboard-read", "clipboard-write"])
    for name in ("command", "python"):
        page.locator(f"[data-copy={name}]").click()
        expect(page.locator(f"[data-copy={name}]")).to_have_text("Copied")
        assert page.evaluate("navigator.clipboard.readText()") == page.locator(f"#{name}").text_content()


def test_metadata_stay_with_the_file_and_with_the_decoded_png(visit):
    exif = Image.Exif()
    exif[0x010E], exif[0x0112] = "a field of barley", 6
    file = io.BytesIO()
    Image.fromarray(make_photo(112, 160)).save(file, "JPEG", exif=exif, quality=92)
    page = visit()
    drop(page, "field.jpg", file.getvalue())
    expect(page.locator("#command")).to_contain_text("field.jpg")
    settled(page)
    name, coded = download(page)
    assert (name, promptcodec.decode(coded).getexif()[0x010E]) == ("field.ptc", "a field of barley")
    name, saved = download(page, "#save-png")
    with Image.open(io.BytesIO(saved)) as image:
        assert (name, image.format, image.getexif()[0x010E]) == ("field.png", "PNG", "a field of barley")
        assert np.array_equal(np.asarray(image), np.asarray(promptcodec.decode(coded)))


def test_a_photo_of_24_megapixels_is_seen_small_and_saved_whole(visit):
    file = io.BytesIO()
    Image.fromarray(make_photo(500, 750)).resize((6000, 4000), Image.Resampling.BICUBIC).save(file, "JPEG", quality=85)
    page = visit()
    page.set_input_files("#files", {"name": "large.jpg", "mimeType": "image/jpeg", "buffer": file.getvalue()})
    expect(page.locator("#command")).to_contain_text("large.jpg")
    settled(page)
    width, height = page.evaluate(
        "(({ width, height }) => [width, height])(document.querySelector('#layer-coded canvas'))"
    )
    assert 1_900_000 < width * height <= 2_000_000
    expect(page.locator("#full-text")).to_contain_text("6000 × 4000 pixels and takes about")
    name, coded = download(page)
    assert (name, promptcodec.info(coded).width, promptcodec.info(coded).height) == ("large.ptc", 6000, 4000)
