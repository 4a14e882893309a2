"""Drawings: what they show, on rows made here; and what they say when there is nothing to draw."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from rows import curve

from promptcodec.cli import app
from promptcodec.errors import UsageError
from promptcodec.evaluate.data.stored import stored_curves
from promptcodec.evaluate.packed import Results, pack
from promptcodec.evaluate.pages import figures, plots
from promptcodec.evaluate.pages.figures import Speed, bd_bars, latency_plot
from promptcodec.evaluate.pages.speed import speeds, times
from promptcodec.evaluate.results import ResultsFile
from promptcodec.evaluate.summary import by_curve, summarise


@pytest.fixture
def drawn(monkeypatch):
    """The axes of every figure that is saved."""
    saved = []
    real = plots.save_figure

    def save(figure, path):
        saved.append(figure.axes)
        real(figure, path)

    monkeypatch.setattr(plots, "save_figure", save)
    monkeypatch.setattr(figures, "save_figure", save)
    return saved


def labels(axes):
    return [line.get_label() for line in axes.lines]


def test_means_of_fewer_pictures_do_not_stand_beside_others(tmp_path, drawn):
    rows = curve("promptcodec:x") + [replace(row, sha256="b") for row in curve("promptcodec:x")] + curve("vvc")
    plots.rd_plot(rows, tmp_path / "a.png")
    (axes,) = drawn[0]
    assert labels(axes) == ["promptcodec:x", "vvc (left out: 1 of 2 pictures)"]
    assert len(axes.lines[1].get_xdata()) == 0


def test_speeds_leave_out_what_was_measured_on_fewer_pictures():
    rows = curve("promptcodec:x") + [replace(row, sha256="b") for row in curve("promptcodec:x")] + curve("vvc")
    assert list(speeds(rows, rows, stored_curves()["kodak/vtm"])) == ["promptcodec:x"]


def test_rate_and_distortion(tmp_path, drawn):
    rows = curve("promptcodec:x") + curve("jpeg", 3, lpips_alex=lambda q: 1 / q)
    plots.rd_plot(rows, tmp_path / "a.png", stored=[stored_curves()["kodak/vtm"]])
    (axes,) = drawn[0]
    assert labels(axes) == ["kodak/vtm (stored)", "promptcodec:x", "jpeg"]
    assert axes.lines[1].get_xydata() == pytest.approx(np.array([(r.bpp, r.psnr) for r in rows[:5]]))
    assert max(axes.lines[0].get_xdata()) <= 2  # what is far right makes the rest small
    plots.rd_plot(rows, tmp_path / "b.svg", "lpips_alex")
    (axes,) = drawn[1]
    assert labels(axes) == ["jpeg"]
    low, high = axes.get_ylim()
    assert low > high  # better is up
    assert Image.open(tmp_path / "a.png").width > 600
    before = (tmp_path / "b.svg").read_bytes()
    plots.rd_plot(rows, tmp_path / "b.svg", "lpips_alex")
    assert (tmp_path / "b.svg").read_bytes() == before
    with pytest.raises(UsageError, match="dists"):
        plots.rd_plot(rows, tmp_path / "c.png", "dists")
    with pytest.raises(UsageError, match=r"\.svg"):
        plots.rd_plot(rows, tmp_path / "c.jpg")


def test_adaptive_range(tmp_path, drawn):
    ours = [
        row for look, factor in ((0, 1), (0.5, 1.2), (1, 1.5)) for row in curve(f"promptcodec:x+l@look={look}", factor)
    ]
    plots.range_plot(ours + curve("jpeg", 3), tmp_path / "a.png")
    (axes,) = drawn[0]
    (area,) = axes.collections
    assert area.get_label() == "promptcodec:x+l, 3 settings"
    outline = area.get_paths()[0].vertices
    best = {row.bpp: row.psnr for row in curve("x", 1)}
    rate, quality = min(((r, q) for r, q in outline if q > 36), key=lambda p: abs(p[0] - list(best)[3]))
    assert quality <= best[list(best)[3]] + 0.1
    assert rate > 0
    with pytest.raises(UsageError, match="several settings"):
        plots.range_plot(curve("jpeg"), tmp_path / "b.png")


def test_regions(tmp_path, drawn):
    inside = {"psnr_inside": lambda q: q + 3, "psnr_outside": lambda q: q - 2}
    plots.region_plot(curve("promptcodec:x+region", **inside), tmp_path / "a.png")
    first, second, third = drawn[0]
    assert first.lines[0].get_ydata() - second.lines[0].get_ydata() == pytest.approx(5)
    assert third.lines[0].get_ydata() - second.lines[0].get_ydata() == pytest.approx(2)
    with pytest.raises(UsageError, match="masks"):
        plots.region_plot(curve("jpeg"), tmp_path / "b.png")


def test_bars_of_bd_rates(tmp_path, drawn):
    summary = summarise(curve("promptcodec:x") + curve("good", 0.5) + curve("bad", 2))
    bd_bars(summary, "promptcodec:x", tmp_path / "a.png")
    left, right = drawn[0]
    assert left.get_title() == "PSNR"
    assert [bar.get_width() for bar in left.patches] == pytest.approx([100, -50], abs=0.1)
    assert [bar.get_width() for bar in right.patches] == pytest.approx([100, -50], abs=0.1)
    with pytest.raises(UsageError, match="promptcodec:x"):
        bd_bars(summary, "nobody", tmp_path / "a.png")


def test_latency(tmp_path, drawn):
    timed = curve("promptcodec:x", decode=0.25) + curve("jpeg", decode=0.01)
    found = speeds(curve("promptcodec:x", 1.5) + curve("jpeg", 3), timed, stored_curves()["kodak/vtm"])
    assert found["promptcodec:x"].decode_s == 0.25
    assert found["promptcodec:x"].bd_rate == pytest.approx(50, abs=3)  # another stretch of VTM's curve
    assert times(timed)["jpeg"].peak_mib == 14
    latency_plot(found, "kodak/vtm", tmp_path / "a.png")
    ours, papers = drawn[0]
    assert [text.get_text() for text in ours.get_legend().get_texts()] == ["jpeg", "promptcodec:x"]  # from the top down
    assert papers.get_legend().get_texts()[-1].get_text() == "S2C-Hybrid-L"
    with pytest.raises(UsageError):
        latency_plot({}, "kodak/vtm", tmp_path / "a.png")
    assert Speed(1, 2) == Speed(1, 2)


def test_accuracy(tmp_path, drawn):
    plots.accuracy_plot({"base": [(0.5, 60), (0.1, 40)]}, tmp_path / "a.png", "top-1 (%)")
    (axes,) = drawn[0]
    assert list(axes.lines[0].get_xdata()) == [0.1, 0.5]
    assert axes.get_ylabel() == "top-1 (%)"


def test_command(tmp_path, monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["promptcodec", "plot", *map(str, arguments)])
        try:
            app.main()
        except SystemExit as end:
            return end.code or 0, capsys.readouterr().err
        return 0, ""

    results = ResultsFile(tmp_path / "r.jsonl")
    scores = {"psnr_inside": float, "psnr_outside": float}
    rows = curve("promptcodec:x+l@look=0", **scores) + curve("promptcodec:x+l@look=1", 2, **scores) + curve("jpeg", 3)
    for row in rows:
        results.append(row)
    pack(Results("t", "rd", tuple(rows)), tmp_path / "p.json", times=True)
    out = tmp_path / "o.png"
    for arguments in (
        ("rd", results.path, "--metric", "ms_ssim", "--curve", "kodak/vtm"), ("range", results.path),
        ("region", results.path, "--codec", "promptcodec:x+l@look=0"),
        ("bars", results.path, "--codec", "promptcodec:x+l@look=1"), ("latency", results.path, tmp_path / "p.json"),
    ):  # fmt: skip
        out.unlink(missing_ok=True)
        assert run(*arguments, "-o", out)[0] == 0
        assert Image.open(out).size
    (tmp_path / "a.json").write_text(json.dumps({"quality": "mAP (%)", "curves": {"base": [[0.1, 30], [0.2, 35]]}}))
    assert run("accuracy", tmp_path / "a.json", "-o", out)[0] == 0
    (tmp_path / "b.json").write_text(json.dumps({"quality": "top-1 (%)", "curves": {}}))
    assert "different things" in run("accuracy", tmp_path / "a.json", tmp_path / "b.json")[1]
    assert "no plot 'pie'" in run("pie", results.path)[1]
    assert "one codec" in run("bars", results.path)[1]
    assert run("rd", tmp_path / "none.jsonl")[0] == 2
    assert run("latency", results.path)[0] == 2
    assert "no rate-accuracy curves" in run("accuracy", tmp_path / "p.json")[1]


def test_adapters_of_one_name_are_curves_of_their_own():
    """Trained twice, they differ by their own fingerprints alone, as models of one name do by theirs."""

    def named(**options):
        return [replace(row, options=options) for row in curve("promptcodec:x+look")]

    rows = named(fingerprint="12345678-1", adapters=["look a"]) + named(fingerprint="12345678-1", adapters=["look b"])
    assert len(by_curve(rows)) == 2
    assert all(len(members) == 5 for members in by_curve(rows).values())
    assert len(by_curve(named(fingerprint="12345678-1") + named(fingerprint="12345678-2"))) == 2
    assert list(by_curve(named(fingerprint="12345678-1") + named(fingerprint="87654321-1"))) == [
        "promptcodec:x+look@12345678", "promptcodec:x+look@87654321",
    ]  # fmt: skip
    assert list(by_curve(named(fingerprint="12345678-1"))) == ["promptcodec:x+look"]
