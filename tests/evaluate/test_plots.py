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
from promptcodec.evaluate.pages.figures import Speed, bd_bars, latency_plot, storage_bars
from promptcodec.evaluate.pages.ranges import ends_plot, range_plot
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
    plots.rd_plot(rows, tmp_path / "b.svg", ["lpips_alex"])
    (axes,) = drawn[1]
    assert labels(axes) == ["jpeg"]
    low, high = axes.get_ylim()
    assert low > high  # better is up
    assert Image.open(tmp_path / "a.png").width > 600
    before = (tmp_path / "b.svg").read_bytes()
    plots.rd_plot(rows, tmp_path / "b.svg", ["lpips_alex"])
    assert (tmp_path / "b.svg").read_bytes() == before
    with pytest.raises(UsageError, match="dists"):
        plots.rd_plot(rows, tmp_path / "c.png", ["dists"])
    with pytest.raises(UsageError, match=r"\.svg"):
        plots.rd_plot(rows, tmp_path / "c.jpg")


def test_adaptive_range(tmp_path, drawn):
    ours = [
        row for look, factor in ((0, 1), (0.5, 1.2), (1, 1.5)) for row in curve(f"promptcodec:x+l@look={look}", factor)
    ]
    range_plot(ours + curve("jpeg", 3), tmp_path / "a.png")
    (axes,) = drawn[0]
    (area,) = axes.collections
    assert area.get_label() == "promptcodec:x+l, 3 settings"
    outline = area.get_paths()[0].vertices
    best = {row.bpp: row.psnr for row in curve("x", 1)}
    rate, quality = min(((r, q) for r, q in outline if q > 36), key=lambda p: abs(p[0] - list(best)[3]))
    assert quality <= best[list(best)[3]] + 0.1
    assert rate > 0
    assert {"look=0", "look=0.5", "look=1", "jpeg"} <= set(labels(axes))  # a single method shows all of its settings
    with pytest.raises(UsageError, match="several settings"):
        range_plot(curve("jpeg"), tmp_path / "b.png")


def two_methods():
    """Prompts and feature transforms at three looks each."""
    return [
        replace(row, options={"fingerprint": "f", "controls": {"look": look}})
        for name, widest in (("prompts", 1.5), ("sft", 2.0))
        for look in (0, 0.5, 1)
        for row in curve(f"promptcodec:{name}@look={look}", 1 + look * (widest - 1), lpips_vgg=lambda q: 3 / q)
    ]


def test_ranges_of_several_methods_in_several_metrics(tmp_path, drawn):
    range_plot(two_methods(), tmp_path / "a.png", ["psnr", "lpips_vgg"])
    for axes in drawn[0]:
        assert [area.get_label() for area in axes.collections] == [
            f"promptcodec:{name}, 3 settings: look=0 (dashed) to look=1" for name in ("prompts", "sft")
        ]  # fmt: skip
        assert [line.get_linestyle() for line in axes.lines] == ["--", "-", "--", "-"]
    (low, high), (worst, best) = (axes.get_ylim() for axes in drawn[0])
    assert low < high
    assert worst > best
    (figure,) = {axes.figure for axes in drawn[0]}
    assert len(figure.legends[0].get_texts()) == 2  # once for both panels


def test_ends_of_several_methods(tmp_path, drawn):
    ends_plot(two_methods() + curve("promptcodec:single", 1.2), tmp_path / "a.png")
    (axes,) = drawn[0]
    assert labels(axes) == [
        "promptcodec:prompts@look=0", "promptcodec:prompts@look=1", "promptcodec:sft@look=0", "promptcodec:sft@look=1",
        "promptcodec:single",
    ]  # fmt: skip
    last = [row for row in two_methods() if row.codec == "promptcodec:sft@look=1"]
    assert axes.lines[3].get_xydata() == pytest.approx(np.array([(row.bpp, row.psnr) for row in last if row.bpp <= 2]))


def test_two_models_of_one_name_are_two_methods(tmp_path, drawn):
    rows = [
        replace(row, options={"fingerprint": model, "controls": {"look": look}})
        for model in ("aaaaaaaa-1", "bbbbbbbb-1") for look in (0, 1)
        for row in curve(f"promptcodec:x+l@look={look}", 1 + look)
    ]  # fmt: skip
    range_plot(rows, tmp_path / "a.png")
    (axes,) = drawn[0]
    assert [area.get_label() for area in axes.collections] == [
        f"promptcodec:x+l ({model}), 2 settings: look=0 (dashed) to look=1" for model in ("aaaaaaaa", "bbbbbbbb")
    ]  # fmt: skip


def test_regions(tmp_path, drawn):
    inside = {"psnr_inside": lambda q: q + 3, "psnr_outside": lambda q: q - 2}
    plots.region_plot(curve("promptcodec:x+region", **inside), tmp_path / "a.png")
    first, second, third = drawn[0]
    assert first.lines[0].get_ydata() - second.lines[0].get_ydata() == pytest.approx(5)
    assert third.lines[0].get_ydata() - second.lines[0].get_ydata() == pytest.approx(2)
    plots.region_plot(curve("promptcodec:x+region", **inside, psnr_weighted=lambda q: q + 1), tmp_path / "w.png")
    assert [axes.get_ylabel().partition(" (")[0] for axes in drawn[1]] == [
        "PSNR inside the region", "PSNR outside the region", "PSNR, 0.8 inside and 0.2 outside",
        "PSNR of the whole picture",
    ]  # fmt: skip
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


def test_bars_with_what_must_be_stored(tmp_path, drawn):
    rows = [replace(row, parameters={"base": 7_000_000}) for row in curve("promptcodec:x", 1.1)]
    rows += [replace(row, parameters={"base": 7_000_000, "a": 1_500_000}) for row in curve("promptcodec:lpm", 0.8)]
    summary = summarise(rows + curve("jpeg", 2), ["jpeg"], [stored_curves()["kodak/vtm"]])
    assert summary.parameters == {"promptcodec:x": 7_000_000, "promptcodec:lpm": 8_500_000}
    storage_bars(summary, "kodak/vtm", tmp_path / "a.png")
    quality, _, size = drawn[0]
    assert [bar.get_width() for bar in quality.patches] == pytest.approx([10, -20], abs=0.2)
    assert [bar.get_width() for bar in size.patches] == [7, 8.5]
    storage_bars(summary, "jpeg", tmp_path / "b.png")
    assert len(drawn[1]) == 3
    with pytest.raises(UsageError, match="no codec has a BD-rate against 'webp'"):
        storage_bars(summary, "webp", tmp_path / "c.png")


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
        ("ends", results.path, "--metric", "psnr", "--metric", "ms_ssim"), ("storage", results.path),
        ("storage", results.path, "--anchor", "jpeg"),
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
