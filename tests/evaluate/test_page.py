"""Packed results, and the page that is made of them."""

import dataclasses
import json
import re
from pathlib import Path

import pytest
from rows import curve

from promptcodec.errors import UsageError
from promptcodec.evaluate.data.stored import UNAVAILABLE
from promptcodec.evaluate.packed import Results, pack, read_rows, unpack
from promptcodec.evaluate.pages.page import render

ROOT = Path(__file__).resolve().parents[2]


def test_packed_rows_come_back(tmp_path):
    rows = curve("promptcodec:x", lpips_alex=lambda q: 1 / q) + curve("jpeg", 3)[:3]
    rows[0].scores["dists"] = 0.125
    rows = [dataclasses.replace(row, mask="m") for row in rows]  # or an evaluation would measure them again
    path = tmp_path / "p.json"
    pack(Results("Title", "rd", tuple(rows), ("command",), "note", {"a": 1}), path)
    back = unpack(path)
    assert (back.title, back.kind, back.commands) == ("Title", "rd", ("command",))
    assert (back.note, back.extra) == ("note", {"a": 1})
    assert read_rows(path) == list(back.rows)
    assert [row.key for row in back.rows] == [row.key for row in rows]
    for old, new in zip(rows, back.rows, strict=True):
        assert (new.bytes, new.width, new.picture, new.mask) == (old.bytes, old.width, old.picture, "m")
        assert new.psnr == pytest.approx(old.psnr, abs=1e-4)
        assert new.scores == pytest.approx(old.scores, abs=1e-5)
        assert new.encode_s == 0  # not kept
    pack(back, path)
    assert unpack(path) == back
    for wrong in ({}, [], {"title": "x", "kind": "rd", "commands": [], "note": "", "extra": {}, "pictures": [["a"]]}):
        path.write_text(json.dumps(wrong))
        with pytest.raises(UsageError, match=r"p\.json"):
            unpack(path)


def test_page(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    pairs = (("promptcodec:x", 1.1), ("jpeg", 2.2))
    rows = tuple(row for pair in pairs for row in curve(*pair, lpips_alex=lambda q: 1 / q))
    extra = {"curves": ["kodak/vtm", "kodak/elic"], "drawn": ["kodak/vtm"]}
    pack(Results("Kodak", "rd", rows, ("measure this",), "a note", extra), folder / "kodak.json")
    speed = {"rates": "kodak.json", "anchor": "kodak/vtm"}
    pack(Results("Speed", "speed", rows, (), "", speed), folder / "speed.json", times=True)
    lossless = {"lossless": {"a.png": {"png": 1234, "webp": 999}}}
    pack(Results("Other", "equal-size", (rows[0], rows[5]), (), "", lossless), folder / "other.json")
    jobs = {"runs": [{"jobs": 2, "rows": 96, "seconds": 12.0, "mib": 800}]}
    pack(Results("Jobs", "jobs", (), (), "", jobs), folder / "x-jobs.json")
    (tmp_path / "out").mkdir()
    written = render(folder, tmp_path / "out" / "page.md")
    page = written[0].read_text()
    figures = re.findall(r"!\[.*?\]\((.*?)\)", page)
    assert {tmp_path / "out" / name for name in figures} == set(written[1:])
    assert all(path.stat().st_size > 5000 for path in written[1:])
    assert page.count("promptcodec plot ") == len(figures)  # every figure says its command
    assert "| jpeg | -50.0 % | -50.0 % | -50.0 % | +" in page
    assert "kodak/elic (stored)" in page
    assert "    measure this" in page
    assert "| promptcodec:x | 1 |" in page
    assert f"| a.png | {rows[0].bytes:,} | 1,234 | 999 |" in page
    assert "| 2 | 96 | 12.0 | 800 |" in page
    assert all(name in page for name in UNAVAILABLE)
    assert render(folder, written[0], figures=False) == [written[0]]
    assert written[0].read_text() == page
    with pytest.raises(UsageError, match="no packed results"):
        render(tmp_path, written[0])
    pack(Results("T", "pie", rows), folder / "a.json")
    with pytest.raises(UsageError, match="no kind 'pie'"):
        render(folder, written[0])


def test_families_methods_and_what_is_stored(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    rows = []
    for index, row in enumerate(curve("promptcodec:tic+lpm", 0.8)):  # one adapter for each rate
        options, spec = {"adapters": [f"lpm {index}"]}, f"promptcodec:tic+runs/lpm-{index}/adapter.safetensors"
        parameters = {"tic": 7_000_000, f"lpm {index}": 1_000_000}
        rows.append(dataclasses.replace(row, options=options, setting=50.0, spec=spec, parameters=parameters))
    rows += [dataclasses.replace(row, parameters={"one": 8_000_000}) for row in curve("promptcodec:one", 1.1)]
    families = ["lpm=*+runs/lpm-*", "lpm=promptcodec:nobody*"]
    pack(
        Results("Storage", "storage", tuple(rows), extra={"anchor": "kodak/vtm", "families": families[:1]}),
        folder / "s.json",
    )
    pack(Results("Rates", "rd", tuple(rows), extra={"families": families[:1]}), folder / "r.json")
    looks = [
        row for name in ("a", "b") for look in (0, 1) for row in curve(f"promptcodec:{name}@look={look}", 1 + look)
    ]
    pack(Results("Looks", "range", tuple(looks)), folder / "l.json")
    page = render(folder, tmp_path / "page.md")[0].read_text()
    assert "| promptcodec:lpm | -20.0 |" in page
    assert "| 12.00 |" in page
    assert "(5 models or adapters)" in page
    assert f"storage {folder / 's.json'} --anchor kodak/vtm --family 'lpm=*+runs/lpm-*'" in page
    assert "figures/l-ends.png" in page
    here = [dataclasses.replace(row, spec=f"promptcodec:/home/me/{row.spec}") for row in rows]
    pack(Results("Here", "rd", tuple(here)), tmp_path / "here.json")
    assert "/home/me" not in (tmp_path / "here.json").read_text()
    pack(Results("Nobody", "rd", tuple(rows), extra={"families": families}), folder / "n.json")
    with pytest.raises(UsageError, match="no codec fits 'promptcodec:nobody"):
        render(folder, tmp_path / "page.md")


def test_what_adapters_do(tmp_path):
    inside = {"psnr_inside": lambda q: q + 1, "psnr_outside": lambda q: q - 1}
    regions = (*curve("promptcodec:x", **inside), *curve("promptcodec:x+region", 0.8, **inside))
    pack(Results("Region", "region", regions), tmp_path / "region.json")
    looks = [curve(f"promptcodec:x+look@look={v:g}", lpips_alex=lambda q, v=v: (1 - v / 2) / q) for v in (0, 1)]
    peers = {"peers": "kodak.json"}
    pack(Results("Look", "range", (*looks[0], *looks[1]), (), "", peers), tmp_path / "look.json")
    rows = (*curve("promptcodec:x", lpips_alex=lambda q: 1 / q), *curve("jpeg", 2, lpips_alex=lambda q: 1 / q))
    pack(Results("Kodak", "rd", rows), tmp_path / "kodak.json")
    written = render(tmp_path, tmp_path / "page.md")
    page = written[0].read_text()
    assert {path.name for path in written[1:]} == {
        *("region.png", "look-psnr.png", "look-lpips_alex.png"),
        *("kodak-psnr.png", "kodak-lpips_alex.png", "kodak-bars.png"),
    }
    assert page.count("| jpeg | -50.0 % | -50.0 % | ") == 2  # of the model, and of the look against the same peers
    for where in ("inside", "outside", "everywhere"):
        assert f"| promptcodec:x+region | {where} | -20.0 % | +" in page
    first = looks[0][0]
    assert f"| 0 | look=0 | {first.bpp:.4f} | {first.psnr:.2f} | {first.ms_ssim:.4f} | {1 / first.psnr:.4f} |" in page
    assert f"| 0 | look=1 | {first.bpp:.4f} | {first.psnr:.2f} | {first.ms_ssim:.4f} | {0.5 / first.psnr:.4f} |" in page


def test_the_committed_page_is_made_of_the_committed_results(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    before = (ROOT / "docs/results.md").read_text()
    (tmp_path / "docs").mkdir()
    render(Path("benchmarks/results/eval"), tmp_path / "docs/results.md", figures=False)
    again = (tmp_path / "docs/results.md").read_text().replace(str(tmp_path / "docs"), "docs")
    assert again == before
    assert all((ROOT / "docs" / name).is_file() for name in re.findall(r"!\[.*?\]\((.*?)\)", before))
