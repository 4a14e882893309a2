"""The page's files: nothing from elsewhere, nothing inline, each text once, short modules."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import promptcodec

PAGE = Path(promptcodec.__file__).parent / "serve" / "page"
HTML = (PAGE / "index.html").read_text(encoding="utf-8")
MODULES = {path.name: path.read_text(encoding="utf-8") for path in sorted(PAGE.glob("*.js"))}
STRINGS = set(re.findall(r"^  (\w+):", MODULES["strings.js"], re.M))
USED = re.findall(r'data-(?:text|label|title)="(\w+)"', HTML)
USED += [key for source in MODULES.values() for key in re.findall(r'\btext\(\s*"(\w+)"', source)]
CHOSEN = {  # by an expression in text(…)
    "erased", "painted", "region_hint", "region_none", "ptc_title", "rate_title", "full_done", "full_running",
    "full_offer", "target_size", "target_bpp", "target_psnr", "target_ssimulacra2", "target_ms_ssim",
}  # fmt: skip


def test_every_text_is_there_and_used():
    assert set(USED) <= STRINGS
    assert STRINGS - set(USED) == CHOSEN


def test_nothing_is_inline_and_nothing_from_elsewhere():
    assert not re.findall(r"<style|\sstyle=|\son\w+=|javascript:", HTML)
    assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", HTML))
    for name, source in {"index.html": HTML, **MODULES}.items():
        addresses = re.findall(r"https?://[^\"'\s]+", source)
        assert set(addresses) <= {"http://www.w3.org/2000/svg"}, name
    for sheet in PAGE.glob("*.css"):
        assert not re.findall(r"url\(|@import", sheet.read_text(encoding="utf-8")), sheet.name


@pytest.mark.parametrize("name", MODULES)
def test_modules_import_what_exists_and_are_short(name):
    source = MODULES[name]
    assert source.startswith("//")
    assert len(source.splitlines()) <= 350
    for names, origin in re.findall(r'import (?:\{([^}]*)\}|\* as \w+) from "\./([\w.]+)"', source):
        exported = re.findall(r"^export (?:async )?(?:const|function|class) (\w+)", MODULES[origin], re.M)
        assert {word.strip() for word in names.split(",") if word.strip()} <= set(exported)
    assert all(f'id="{used}"' in HTML for used in re.findall(r'byId\("([\w-]+)"\)', source))
