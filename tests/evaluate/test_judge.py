"""Further metrics of a run: published examples, a second implementation, and rows that carry them."""

import importlib.util
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from promptcodec.errors import UsageError
from promptcodec.evaluate.codecs.registry import open_codec
from promptcodec.evaluate.cost.memory import begin_peak
from promptcodec.evaluate.data.datasets import find_masks, find_pictures
from promptcodec.evaluate.judge import Judge
from promptcodec.evaluate.results import ResultsFile
from promptcodec.evaluate.runner import measure


def test_perceptual_examples(networks):
    reference, first, second = (
        np.asarray(Image.open(networks / "examples" / f"lpips-ex_{name}.png").convert("RGB"))
        for name in ("ref", "p0", "p1")
    )
    judge = Judge(["lpips_alex", "lpips_vgg", "dists"], networks)
    worse, better, same = (judge(reference, other) for other in (first, second, reference))
    assert worse["lpips_alex"] == pytest.approx(0.722, abs=5e-4)
    assert better["lpips_alex"] == pytest.approx(0.138, abs=5e-4)
    assert all(worse[name] > better[name] > same[name] for name in judge.names)
    assert all(abs(value) < 1e-5 for value in same.values())
    definition = importlib.util.spec_from_file_location("nets", networks / "nets.py")
    theirs = importlib.util.module_from_spec(definition)
    definition.loader.exec_module(theirs)
    planes = [torch.from_numpy(p.copy()).permute(2, 0, 1)[None].float() / 255 for p in (reference, first)]
    with torch.no_grad():
        assert worse["dists"] == pytest.approx(float(theirs.Dists().eval()(*planes)), abs=1e-5)


def test_nothing_takes_the_place_of_missing_networks(tmp_path, monkeypatch):
    monkeypatch.delenv("PROMPTCODEC_NETWORKS", raising=False)
    with pytest.raises(UsageError, match="PROMPTCODEC_NETWORKS"):
        Judge(["lpips_alex"])
    save_file({"alpha": torch.ones(1), "beta": torch.ones(1)}, tmp_path / "dists_alpha_beta.safetensors")
    with pytest.raises(UsageError, match=r"vgg16.*missing in"):
        Judge(["dists"], tmp_path)
    with pytest.raises(UsageError, match="no metric"):
        Judge(["vmaf"])


def test_peak_memory():
    if not begin_peak():
        pytest.skip("this system does not tell")
    code = (  # a process of its own: what earlier tests freed may still be resident
        "import numpy as np; from promptcodec.evaluate.cost.memory import begin_peak, peak_mib; begin_peak();"
        "a = peak_mib(); np.ones(2**25).sum(); b = peak_mib(); begin_peak(); print(a, b, peak_mib())"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    before, high, after = map(float, said.split())
    assert high > before + 240  # 256 MiB
    assert after < before + 20


@pytest.fixture
def pictures(tmp_path, photo):
    (tmp_path / "masks").mkdir()
    for name, pixels in (("a", photo), ("b", photo[:, ::-1])):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
        Image.fromarray((pixels[..., 0] > 128).astype(np.uint8) * 255).save(tmp_path / "masks" / f"{name}.png")
    return find_pictures([tmp_path])


def test_rows_carry_metrics_phases_and_memory(tmp_path, pictures):
    results = ResultsFile(tmp_path / "r.jsonl")
    plan = [(open_codec("promptcodec"), [30.0]), (open_codec("jpeg"), [30, 60])]
    list(measure(pictures, plan, results))
    masks = find_masks(tmp_path / "masks", pictures)
    judge = Judge(["psnr_yuv", "psnr_inside", "psnr_outside"])
    rows = list(measure(pictures, plan, ResultsFile(tmp_path / "r.jsonl"), judge, masks))
    again = list(measure(pictures, plan, ResultsFile(tmp_path / "r.jsonl"), judge, masks))
    assert rows == again  # nothing is measured twice
    assert len(ResultsFile(tmp_path / "r.jsonl")) == 6
    for row in rows:
        assert row.scores["psnr_inside"] > 20
        assert row.metric("psnr_yuv") > row.psnr  # chroma is smooth
        assert row.mask
    ours = next(row for row in rows if row.codec.startswith("promptcodec"))
    assert set(ours.phases) == {"analysis", "encode latents and file", "synthesis", "decode file and latents"}
    assert sum(ours.phases.values()) == pytest.approx(ours.encode_s + ours.decode_s, rel=0.1)
    Image.fromarray(np.zeros((160, 208), np.uint8)).save(tmp_path / "masks" / "a.png")  # another mask, another result
    changed = list(measure(pictures, plan, ResultsFile(tmp_path / "r.jsonl"), judge, masks))
    assert sum(row.scores["psnr_inside"] is None for row in changed) == 3
    with pytest.raises(UsageError, match="no mask"):
        find_masks(tmp_path, [tmp_path / "c.png"])


def test_rows_of_earlier_releases_are_read(tmp_path, pictures):
    results = ResultsFile(tmp_path / "r.jsonl")
    list(measure(pictures, [(open_codec("jpeg"), [30])], results))
    lines = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    for line in lines:
        for name in ("scores", "mask", "phases", "peak_mib", "jobs"):
            del line[name]
    (tmp_path / "old.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert [row.bytes for row in ResultsFile(tmp_path / "old.jsonl")] == [row.bytes for row in results]


def test_two_jobs_give_the_same_rows(tmp_path, pictures):
    plan = [(open_codec("jpeg"), [30, 60])]
    first = list(measure(pictures, plan, ResultsFile(tmp_path / "1.jsonl"), Judge(["psnr_yuv"])))
    second = list(measure(pictures, plan, ResultsFile(tmp_path / "2.jsonl"), Judge(["psnr_yuv"]), jobs=2))

    def facts(rows):
        return sorted((row.key, row.bytes, row.psnr, tuple(row.scores.items())) for row in rows)

    assert facts(first) == facts(second)
    assert {row.jobs for row in second} == {2}
