"""Curves of others: those in the package, CompressAI's files, and ours beside them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from promptcodec.cli import app
from promptcodec.errors import UsageError
from promptcodec.evaluate.data.stored import UNAVAILABLE, open_curve, read_compressai, stored_curves, write_compressai
from promptcodec.evaluate.results import ResultsFile, Row
from promptcodec.evaluate.summary import summarise


def row(picture, setting, bpp, psnr, codec="promptcodec:x", **more):
    values = {
        "options": {}, "version": "1", "picture": picture, "sha256": picture, "width": 10, "height": 10, "bytes": 1,
        "ms_ssim": None, "encode_s": 1.0, "decode_s": 1.0,
    }  # fmt: skip
    return Row(codec=codec, setting=setting, bpp=bpp, psnr=psnr, **(values | more))


def test_stored_curves_are_curves():
    curves = stored_curves()
    assert len(curves) == 54
    for curve in curves.values():
        assert curve.source
        rates = [point.bpp for point in curve.points]
        assert len(rates) >= 6
        assert rates == sorted(set(rates))
        assert all(20 < point.psnr < 50 for point in curve.points)
    assert curves["kodak/vtm"].points[3].psnr == pytest.approx(34.2615, abs=1e-3)  # as printed in its source
    assert curves["kodak/elic"].points[0].bpp == 0.0468
    with pytest.raises(UsageError, match="promptcodec curves"):
        open_curve("kodak/tcm")


def test_stored_curves_are_compressais(shared, tmp_path):
    root = Path(__file__).resolve().parents[2]
    folders = [f"{name}={shared / 'reference' / folder}" for name, folder in (
        ("kodak", "compressai-kodak"), ("clic2020", "compressai-clic2020-professional"))]  # fmt: skip
    command = [sys.executable, "-m", "benchmarks.results.store_curves", *folders, "--out", str(tmp_path / "c.json")]
    subprocess.run(command, cwd=root, check=True, capture_output=True)
    stored = root / "src/promptcodec/evaluate/data/curves/compressai.json"
    assert (tmp_path / "c.json").read_bytes() == stored.read_bytes()


def test_compressai_results_in_and_out(tmp_path):
    points = stored_curves()["kodak/vtm"].points
    write_compressai(tmp_path / "vtm.json", "VTM", "as stored", points)
    content = json.loads((tmp_path / "vtm.json").read_text())
    assert set(content["results"]) == {"bpp", "psnr-rgb", "ms-ssim-rgb"}
    again = read_compressai(tmp_path / "vtm.json")
    assert again.points == points
    content["results"]["psnr"] = content["results"].pop("psnr-rgb")  # the older name
    (tmp_path / "old.json").write_text(json.dumps(content))
    assert open_curve(str(tmp_path / "old.json")).points == points
    content["results"]["bpp"].pop()
    for wrong in ([], {"results": {}}, content, "x"):
        (tmp_path / "wrong.json").write_text(json.dumps(wrong))
        with pytest.raises(UsageError, match=r"wrong\.json"):
            read_compressai(tmp_path / "wrong.json")
    with pytest.raises(UsageError, match="cannot read"):
        read_compressai(tmp_path / "none.json")


def test_bd_against_a_stored_curve_and_of_any_metric():
    vtm = stored_curves()["kodak/vtm"]
    twice = [row("a", i, 2 * p.bpp, p.psnr, scores={"lpips_alex": 1 / p.psnr}) for i, p in enumerate(vtm.points)]
    peer = [
        row("a", i, p.bpp, p.psnr, "peer", scores={"lpips_alex": 1 / p.psnr} if i != 2 else {})
        for i, p in enumerate(vtm.points)
    ]
    summary = summarise([*twice, *peer], stored=[vtm])
    rates = {(b.anchor, b.metric): b for b in summary.bd_rates}
    assert rates["kodak/vtm", "psnr"].result.percent == pytest.approx(100, rel=1e-5)
    assert rates["kodak/vtm", "psnr"].quality.quality < -2
    assert rates["peer", "lpips_alex"].result.percent == pytest.approx(100, rel=0.05)  # one setting lacks it
    assert rates["peer", "lpips_alex"].quality.quality < 0
    assert rates["peer", "lpips_alex"].pictures == 1
    assert ("kodak/vtm", "ms_ssim") in rates


def test_commands(tmp_path, monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["promptcodec", *map(str, arguments)])
        try:
            app.main()
        except SystemExit as end:
            return end.code or 0, capsys.readouterr()
        return 0, capsys.readouterr()

    code, said = run("curves")
    assert code == 0
    assert "BSD-3-Clause-Clear" in said.out
    assert all(name in said.out for name in UNAVAILABLE)
    assert "0.0482 bpp" in run("curves", "kodak/vtm")[1].out
    results = ResultsFile(tmp_path / "r.jsonl")
    for index, point in enumerate(stored_curves()["kodak/bpg"].points):
        results.append(row("a", index, point.bpp, point.psnr))
    arguments = ["eval", "--summary-only", "-o", results.path, "--curve", "kodak/vtm", "--curve", "kodak/bpg", "--json"]
    code, said = run(*arguments, "--compressai", tmp_path / "out", "--method", "cubic")
    assert code == 0
    rates = {(b["anchor"], b["metric"]): b["result"]["percent"] for b in json.loads(said.out)["bd_rates"]}
    assert rates["kodak/bpg", "psnr"] == pytest.approx(0, abs=1e-9)
    assert 15 < rates["kodak/vtm", "psnr"] < 40
    assert read_compressai(tmp_path / "out" / "promptcodec-x.json").points[0].encode_s == 1
    assert run(*arguments, "--method", "linear")[0] == 2
    assert run("eval", "--summary-only", "-o", results.path, "--curve", "nothing")[0] == 2
