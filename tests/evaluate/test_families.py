"""Several measured codecs as one curve."""

from dataclasses import replace

import pytest
from rows import curve

from promptcodec.errors import UsageError
from promptcodec.evaluate.families import Family, as_curves, read_families
from promptcodec.evaluate.results import ResultsFile
from promptcodec.evaluate.summary import by_curve, mean_points, summarise


def members(*names: str, factor: float = 1.0, **options: object) -> list:
    """The points of VTM's curve, each as a codec of its own with one setting."""
    rows = curve("promptcodec:x", factor)
    return [
        replace(row, codec=name, setting=0.0, options={"fingerprint": str(i)} | options, spec=f"promptcodec:runs/{i}/m")
        for i, (name, row) in enumerate(zip(names, rows, strict=True))
    ]


def at_rates(name: str, factor: float = 1.0, **controls: float) -> list:
    """The same as one adapter at five rates."""
    rows = []
    for row, rate in zip(curve(name, factor), (0, 0.25, 0.5, 0.75, 1), strict=True):
        stated = {**controls, "rate": rate}
        codec = f"{name}@" + "&".join(f"{k}={v:g}" for k, v in sorted(stated.items()))
        rows.append(replace(row, codec=codec, setting=50.0, options={"adapters": ["a"], "controls": stated}))
    return rows


def test_the_rates_of_an_adapter_are_one_curve():
    rows = as_curves(at_rates("promptcodec:x+gains") + at_rates("promptcodec:x+gains", 2, look=0.5) + curve("jpeg"))
    curves = by_curve(rows)
    assert list(curves) == ["promptcodec:x+gains", "promptcodec:x+gains@look=0.5", "jpeg"]
    assert [point.setting for point in mean_points(curves["promptcodec:x+gains"])] == [0, 25, 50, 75, 100]
    summary = summarise(rows)
    found = {(e.codec, e.metric): e.result.percent for e in summary.bd_rates}
    assert found["promptcodec:x+gains", "psnr"] == pytest.approx(0)
    assert found["promptcodec:x+gains@look=0.5", "psnr"] == pytest.approx(100, abs=0.01)


def test_rates_that_were_measured_at_several_qualities_stay_curves_of_their_own():
    rows = [replace(row, setting=setting) for row in at_rates("promptcodec:x+prompts") for setting in (10.0, 50.0)]
    assert as_curves(rows) == rows
    one = at_rates("promptcodec:x+prompts")[:1]
    assert as_curves(one) == one


def test_one_rate_of_an_adapter_can_be_picked():
    rows = at_rates("promptcodec:x+gains")
    picked = "promptcodec:x+gains@rate=0.5"
    assert [row.codec for row in as_curves(rows, (), {picked}) if row.codec == picked] == [picked]
    assert len(by_curve(as_curves(rows, (), {picked}))) == 2


def test_models_of_one_rate_each_are_a_family():
    rows = members(*["promptcodec:tic+lpm"] * 5) + members(*["promptcodec:tic"] * 5, factor=2, tic=True)
    joined = as_curves(rows, [Family("lpm", ("promptcodec:tic+lpm*",)), Family("tic", ("promptcodec:tic@*",))])
    summary = summarise(joined, ["promptcodec:tic"])
    assert {label: len(points) for label, points in summary.curves.items()} == {
        "promptcodec:lpm": 5, "promptcodec:tic": 5,
    }  # fmt: skip
    assert summary.bd_rates[0].result.percent == pytest.approx(-50, abs=0.01)
    assert summary.warnings == []


def test_a_codec_may_belong_to_two_families_and_be_named_by_its_file():
    rows = members(*["promptcodec:tic"] * 5)
    families = [Family("all", ("*runs/?/m", "*runs/1/m")), Family("two", ("*runs/0/m", "*runs/3/m"))]
    curves = by_curve(as_curves(rows, families))
    assert {label: len(points) for label, points in curves.items()} == {"promptcodec:all": 5, "promptcodec:two": 2}
    assert [point.setting for point in mean_points(curves["promptcodec:two"])] == [1, 2]


def test_each_setting_of_a_family_is_a_curve():
    rows = []
    for look, factor in ((0, 1.0), (1, 1.5)):
        for row in members(*[f"promptcodec:tic+look@look={look}"] * 5, factor=factor):
            rows.append(replace(row, options=row.options | {"controls": {"look": look}}))
    curves = by_curve(as_curves(rows, [Family("prompts", ("promptcodec:tic+look",))]))
    assert list(curves) == ["promptcodec:prompts@look=0", "promptcodec:prompts@look=1"]
    one = by_curve(as_curves(rows, [Family("at one", ("promptcodec:tic+look@look=1*",))]))
    assert len(one["promptcodec:at one"]) == 5


def test_what_is_no_family():
    assert read_families(["a=x*", "a=y", "b=z"]) == [Family("a", ("x*", "y")), Family("b", ("z",))]
    for wrong in ("a", "=x", "a="):
        with pytest.raises(UsageError, match="expected NAME=PATTERN"):
            read_families([wrong])
    with pytest.raises(UsageError, match=r"no codec fits 'vtm' of family a \(measured: jpeg\)"):
        as_curves(curve("jpeg"), [Family("a", ("vtm",))])


def test_command(tmp_path, run):
    file = ResultsFile(tmp_path / "r.jsonl")
    for row in members(*["promptcodec:tic+lpm"] * 5) + curve("jpeg", 2):
        file.append(row)
    options = (tmp_path / "r.jsonl", "--family", "lpm=promptcodec:tic+lpm*")
    code, out, _ = run("eval", "--summary-only", "-o", *options, "--plot", tmp_path / "a.png")
    assert code == 0
    assert "-50.0" in out
    assert (tmp_path / "a.png").exists()
    assert run("plot", "rd", *options, "-o", tmp_path / "b.png")[0] == 0
    code, _, err = run("plot", "rd", options[0], "--family", "x=nobody", "-o", tmp_path / "c.png")
    assert code == 2
    assert "no codec fits 'nobody'" in err
