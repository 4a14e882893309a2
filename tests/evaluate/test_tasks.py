"""``eval --task``: rows, scores by hand and by pycocotools, intervals, and the command."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from promptcodec.cli import eval_task
from promptcodec.errors import UsageError
from promptcodec.evaluate.codecs.registry import open_codec, peers
from promptcodec.evaluate.pages.task_report import print_task_summary
from promptcodec.evaluate.results import RowsFile
from promptcodec.evaluate.tasks.average_precision import AveragePrecision
from promptcodec.evaluate.tasks.measure import measure
from promptcodec.evaluate.tasks.rows import ORIGINAL, TaskRow, to_json
from promptcodec.evaluate.tasks.scores import SCORES
from promptcodec.evaluate.tasks.summary import summarise_task
from promptcodec.evaluate.tasks.truth import read_truth
from promptcodec.tasks.recogniser import Objects
from promptcodec.tasks.registry import open_recogniser

coco = pytest.importorskip("pycocotools.coco", reason="needs pycocotools, of the extra tasks")
cocoeval = pytest.importorskip("pycocotools.cocoeval")

Run = Callable[..., tuple[int, str, str]]
EXAMPLE = f"{Path(__file__).parents[2]}/examples/own_recogniser.py:TwoScales"


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of four pictures of several sizes, with labels."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    names = []
    for index, size in enumerate([(160, 120), (96, 128), (128, 128), (200, 150)]):
        names.append(f"{index}.png")
        Image.effect_noise(size, 20 + 20 * index).convert("RGB").save(folder / names[-1])
    lines = ["file,class_index", *(f"{name},{index}" for index, name in enumerate(names))]
    (folder / "labels.csv").write_text("\n".join(lines))
    return folder


def scene(rng: np.random.Generator, count: int, categories: int) -> dict[str, Any]:
    corners = rng.uniform(0, 80, (count, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(5, 40, (count, 2))], 1)
    return {"boxes": boxes.tolist(), "categories": rng.integers(1, categories + 1, count).tolist()}


def seen(rng: np.random.Generator, truth: dict[str, Any]) -> dict[str, Any]:
    """What an imperfect detector sees: most objects, moved a little, and some that are not there."""
    kept = [i for i in range(len(truth["boxes"])) if rng.random() < 0.8]
    boxes = [(np.array(truth["boxes"][i]) + rng.normal(0, 2, 4)).tolist() for i in kept]
    others = scene(rng, 3, 3)
    scores = rng.random(len(kept) + 3).round(2).tolist()
    return {"boxes": boxes + others["boxes"], "scores": scores,
            "categories": [truth["categories"][i] for i in kept] + others["categories"]}  # fmt: skip


def by_pycocotools(truths: list[dict[str, Any]], predictions: list[dict[str, Any]]) -> tuple[float, float]:
    def sides(box: list[float]) -> list[float]:
        return [box[0], box[1], box[2] - box[0], box[3] - box[1]]

    reference = coco.COCO()
    annotations = [
        {"image_id": n, "category_id": c, "bbox": sides(b), "area": 1.0, "iscrowd": 0}
        for n, one in enumerate(truths)
        for b, c in zip(one["boxes"], one["categories"], strict=True)
    ]
    reference.dataset = {
        "images": [{"id": n} for n in range(len(truths))],
        "annotations": [{"id": i + 1, **a} for i, a in enumerate(annotations)],
        "categories": [{"id": c} for c in {a["category_id"] for a in annotations}],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        reference.createIndex()
        detections = [
            {"image_id": n, "category_id": c, "score": s, "bbox": sides(b)}
            for n, one in enumerate(predictions)
            for b, s, c in zip(one["boxes"], one["scores"], one["categories"], strict=True)
        ]
        evaluation = cocoeval.COCOeval(reference, reference.loadRes(detections), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return 100 * evaluation.stats[0], 100 * evaluation.stats[1]


def test_average_precision_is_coco_s() -> None:
    rng = np.random.default_rng(3)
    truths = [scene(rng, int(rng.integers(0, 7)), 3) for _ in range(12)]
    predictions = [seen(rng, truth) for truth in truths]
    ours = AveragePrecision(truths, predictions)
    assert (ours.of_all(), ours.of_all(0.5)) == pytest.approx(by_pycocotools(truths, predictions), abs=1e-9)
    assert 10 < ours.of_all() < ours.of_all(0.5) < 90
    # A sample has some pictures several times and lacks others: as if they lay in the set so often.
    counts = rng.integers(0, 3, 12)
    repeated = [i for i, count in enumerate(counts) for _ in range(count)]
    expected = by_pycocotools([truths[i] for i in repeated], [predictions[i] for i in repeated])[0]
    assert ours.of_samples(counts[None].astype(float))[0] == pytest.approx(expected, abs=0.5)
    nothing = {"boxes": [], "scores": [], "categories": []}
    assert AveragePrecision(truths, [nothing] * 12).of_all() == 0
    assert np.isnan(AveragePrecision([{"boxes": [], "categories": []}] * 12, predictions).of_all())


def test_masks() -> None:
    left = np.zeros((20, 30), bool)
    left[:, :15] = True
    box, score, category = np.array([[0, 0, 15, 20]], np.float32), np.array([0.9], np.float32), np.array([7])
    exact, wrong = (to_json(Objects(box, score, category, [mask]), 60, 40) for mask in (left, ~left))
    assert exact["masks"][0]["size"] == [40, 60]
    outline = {"boxes": [[0, 0, 30, 40]], "categories": [7], "shapes": [OUTLINE]}
    truths = [outline, outline]
    score_of = SCORES["detect"]["mask_map"].compute
    assert score_of(truths, [exact, exact]).of_samples(np.ones((1, 2)))[0] == pytest.approx(100)
    assert score_of(truths, [wrong, wrong]).of_samples(np.ones((1, 2)))[0] == 0
    nothing = {"boxes": [], "scores": [], "categories": []}
    assert 0 < score_of(truths, [exact, nothing]).of_samples(np.ones((1, 2)))[0] < 60
    agreement = SCORES["detect"]["mask_agreement"].compute
    assert agreement([exact, exact], [exact, exact]).of_samples(np.ones((1, 2)))[0] == pytest.approx(100)


OUTLINE = [[0, 0, 30, 0, 30, 40, 0, 40]]


def detected(codec: str, shapes: list[Any], score: float = 0.9, picture: int = 0) -> TaskRow:
    """One object with a mask, and what the labels say of it: its outline, None where they have none; or no object."""
    mask = np.zeros((20, 30), bool)
    mask[:, :15] = True
    values = np.array([[0, 0, 15, 20]], np.float32), np.array([score], np.float32), np.array([7])
    truth = {"boxes": [[0, 0, 30, 40]] * len(shapes), "categories": [7] * len(shapes), "crowd": [0] * len(shapes),
             "shapes": shapes} if codec == ORIGINAL else None  # fmt: skip
    prediction = to_json(Objects(*values, [mask]), 60, 40)
    return replace(row(codec, 0, picture, [1], 0.1), task="detect", prediction=prediction, truth=truth)


def test_labels_without_outlines_have_no_masks() -> None:
    rows = [detected(codec, [None]) for codec in (ORIGINAL, "jpeg")]
    assert [table.score for table in summarise_task(rows).tables] == [
        "box_map", "box_map50", "agreement", "mask_agreement"
    ]  # fmt: skip
    for picture, shapes in ((1, [OUTLINE]), (2, [])):  # one without objects lacks no outlines
        rows += [detected(codec, shapes, picture=picture) for codec in (ORIGINAL, "jpeg")]
    summary = summarise_task(rows)
    pictures = {table.score: table.pictures for table in summary.tables}
    assert (pictures["box_map"], pictures["mask_map"], pictures["mask_agreement"]) == (3, 2, 3)
    assert summary.warnings == ["r, native size: mask_map: only 2 of 3 pictures have outlines"]


def test_nothing_to_find_is_said() -> None:
    """Scores that no picture defines are no tables of values that are not numbers."""
    rows = [detected(codec, [], score=0.2) for codec in (ORIGINAL, "jpeg")]  # no label, no sure detection
    summary = summarise_task(rows)
    assert summary.tables == []
    assert summary.warnings == [
        f"r, native size: {name}: there is nothing to find"
        for name in ("box_map", "box_map50", "mask_map", "agreement", "mask_agreement")
    ]
    nothing = {"boxes": [], "scores": [], "categories": []}
    summary = summarise_task([replace(row, prediction=nothing) for row in rows])
    assert summary.warnings == [
        f"r, native size: {name}: there is nothing to find" for name in ("box_map", "box_map50", "agreement")
    ]


def row(codec: str, setting: float, picture: int, ranking: list[int], bpp: float, truth: int | None = None) -> TaskRow:
    return TaskRow(
        codec=codec, options={}, version="1", picture=str(picture), sha256=str(picture), width=8, height=8,
        setting=setting, bytes=round(8 * bpp), bpp=bpp, psnr=None, encode_s=0, decode_s=0, task="classify",
        recogniser="r", weights="w", coded_size="native",
        prediction={"ranking": ranking, "probabilities": [1.0]}, truth=None if truth is None else {"class": truth},
    )  # fmt: skip


def test_scores_and_intervals_by_hand() -> None:
    count = 100
    rows = [row(ORIGINAL, 0, i, [5, 6], 0, truth=5 if i < 90 else 6) for i in range(count)]
    for codec, rate in (("promptcodec:x", 0.1), ("jpeg", 0.2)):
        for setting, right in ((10, 60), (20, 80)):  # on so many pictures it says what it says of the original
            rows += [row(codec, setting, i, [5, 6] if i < right else [6, 5], rate * setting / 10) for i in range(count)]
    summary = summarise_task(rows)
    top1, top5, agreement = summary.tables
    assert [table.score for table in summary.tables] == ["top1", "top5", "agreement"]
    assert (top1.original.value, top5.original.value, agreement.original.value) == (90, 100, 100)
    point = top1.curves["jpeg"][0]
    assert (point.setting, point.bpp, point.bytes) == (10, pytest.approx(0.2), 2)
    assert point.score.value == 70  # 60 that are 5, and 10 of the last that are 6
    assert point.score.error == pytest.approx(np.sqrt(0.7 * 0.3 / 100) * 100, rel=0.15)
    assert point.score.low is not None
    assert point.score.high is not None
    assert 58 < point.score.low < 63
    assert 77 < point.score.high < 82
    assert point.difference.value == -20
    comparison = agreement.comparisons[0]
    assert (comparison.codec, comparison.anchor) == ("promptcodec:x", "jpeg")
    assert comparison.rate is not None
    # Both see alike at half the rate. What a sample changes, it changes for both: the paired error is nothing.
    assert (comparison.rate.value, comparison.rate.error) == (pytest.approx(-50), pytest.approx(0, abs=1e-6))
    assert comparison.accuracy is None  # the cheapest of one costs what the dearest of the other does


def test_warnings_of_comparisons_are_printed() -> None:
    rows = [row(ORIGINAL, 0, i, [5, 6], 0) for i in range(20)]
    for codec, rate in (("promptcodec:x", 0.1), ("jpeg", 0.2)):
        for setting, right in ((10, 12), (20, 12), (30, 18)):  # the second costs more and is no better
            rows += [row(codec, setting, i, [5, 6] if i < right else [6, 5], rate * setting / 10) for i in range(20)]
    console = Console(file=io.StringIO(), width=200)
    print_task_summary(summarise_task(rows), console)
    assert isinstance(console.file, io.StringIO)
    expected = "warning: r, native size: agreement: promptcodec:x against jpeg: left out 1 of 3 points of the anchor"
    assert expected in console.file.getvalue()


def test_what_is_incomplete_is_said() -> None:
    rows = [row(ORIGINAL, 0, i, [1], 0, truth=1 if i else None) for i in range(3)]
    rows += [row("jpeg", 10, i, [1], 0.2) for i in range(2)]
    summary = summarise_task(rows)
    assert summary.warnings == [
        "r, native size: only 2 of 3 pictures have all settings of all codecs",
        "r, native size: top1: only 1 of 2 pictures have labels",
        "r, native size: top5: only 1 of 2 pictures have labels",
    ]
    assert [table.pictures for table in summary.tables] == [1, 1, 2]
    with pytest.raises(UsageError, match="no results for the anchor 'webp'"):
        summarise_task(rows, ["webp"])
    with pytest.raises(UsageError, match="no results to summarise"):
        summarise_task([])


def test_words_are_counted_once() -> None:
    shares = SCORES["read"]["words"].compute
    truth, lines = {"lines": ["Green river green open"]}, ["green", "rivers# GREE", "OPENGREEN"]
    assert shares([truth], [{"lines": lines}]).of_samples(np.ones((1, 1)))[0] == pytest.approx(300 / 4)


def test_measuring_goes_on_where_it_stopped(pictures: Path, tmp_path: Path) -> None:
    recogniser, plan = open_recogniser(EXAMPLE), [(open_codec("jpeg"), [10.0, 50.0])]
    files, truth = sorted(pictures.glob("*.png")), read_truth("classify", [pictures])
    assert truth["2.png"] == {"class": 2}
    results = RowsFile(tmp_path / "r.jsonl", TaskRow)
    rows = list(measure(files, plan, [recogniser], ["input", "native"], results, truth))
    assert len(rows) == len(results) == 4 * 2 * 3
    sizes = {(r.picture, r.coded_size): (r.width, r.height) for r in rows}
    assert sizes["0.png", "input"] == (128, 128)
    assert sizes["0.png", "native"] == (160, 120)
    assert all((r.truth is None) == (r.codec != ORIGINAL) for r in rows)
    coarse = [r for r in rows if r.setting == 10]
    assert all(0 < r.bpp == pytest.approx(8 * r.bytes / r.width / r.height) for r in coarse)
    # At input size the original is what the recogniser looks at anyway.
    originals = {(r.picture, r.coded_size): r.prediction for r in rows if r.codec == ORIGINAL}
    assert all(originals[name, "input"] == originals[name, "native"] for name, _ in originals)
    size = (tmp_path / "r.jsonl").stat().st_size
    again = RowsFile(tmp_path / "r.jsonl", TaskRow)
    assert list(measure(files, plan, [recogniser], ["input", "native"], again, truth)) == rows
    assert (tmp_path / "r.jsonl").stat().st_size == size
    changed = truth | {"1.png": {"class": 9}}
    newer = list(measure(files, plan, [recogniser], ["native"], again, changed))
    assert [r.truth for r in newer if r.picture == "1.png" and r.codec == ORIGINAL] == [{"class": 9}]
    other = replace(rows[0], weights="other")
    assert other.key != rows[0].key  # what other weights saw is no result of these


def test_command(pictures: Path, tmp_path: Path, run: Run) -> None:
    output, plot = tmp_path / "r.jsonl", tmp_path / "p.png"
    command = ["eval", str(pictures), "--task", "classify", "--recogniser", EXAMPLE, "--codec", "jpeg",
               "--codec", "webp", "-q", "5", "-q", "60", "-o", str(output)]  # fmt: skip
    code, shown, _ = run(*command, "--plot", plot)
    assert code == 0
    assert "top-1 accuracy (%), own_recogniser:TwoScales, coded at native size, 4 pictures" in " ".join(shown.split())
    assert "same class as on the original" in shown
    assert "BD-accuracy" in shown
    with Image.open(plot) as image:
        assert image.width > 1000
    code, printed, _ = run("eval", "--task", "classify", "--summary-only", "-o", output, "--json")
    assert code == 0
    record = json.loads(printed)
    assert (record["verb"], record["record"]) == ("eval", "task_summary")
    assert {table["coded_size"] for table in record["tables"]} == {"input", "native"}
    assert record["tables"][0]["curves"]["jpeg"][0]["score"]["value"] >= 0
    summary = ["eval", "--task", "classify", "--summary-only", "-o", output, "--json", "--recogniser"]
    assert run(*summary, EXAMPLE)[:2] == (0, printed)
    code, _, error = run(*summary, "resnet50")
    assert (code, "no results to summarise" in error) == (2, True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--task", "drive"], "--task is classify, detect or read"),
        (["--task", "classify", "--coded-size", "half"], "--coded-size is input or native"),
        (["--task", "detect", "--recogniser", "resnet50"], "resnet50 is for the task classify, not detect"),
        (["--task", "detect", "--recogniser", EXAMPLE], "is for the task classify, not detect"),
        (["--task", "classify", "--recogniser", EXAMPLE, "--labels", "none.csv"], "no file of labels none.csv"),
        (["--task", "classify", "--metric", "dists"], "--metric does not go with --task"),
        (["--recogniser", EXAMPLE], "need --task"),
    ],
)  # fmt: skip
def test_what_makes_no_sense(options: list[str], message: str, pictures: Path, tmp_path: Path, run: Run) -> None:
    code, _, error = run("eval", pictures, "--codec", "jpeg", "-o", tmp_path / "r", *options)
    assert code == 2
    assert message in error.replace("\n", " ")
    assert not (tmp_path / "r").exists()


def test_vvc_is_measured_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    for installed in (True, False):
        monkeypatch.setattr(eval_task, "find_spec", lambda _, installed=installed: installed or None)
        assert ("vvc" in eval_task.default_codecs()) == installed
        assert all(name == "promptcodec" or name in peers() for name in eval_task.default_codecs())


def test_labels_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("file,class_index\na.png,horse\n")
    (tmp_path / "instances.json").write_text('{"images": [{"id": 1, "file_name": "a.jpg"}]}')
    with pytest.raises(UsageError, match="no table with the columns file and class_index"):
        read_truth("classify", [tmp_path])
    with pytest.raises(UsageError, match="no instances in COCO's format"):
        read_truth("detect", [tmp_path])
    assert read_truth("read", [tmp_path]) == {}
    (tmp_path / "labels.csv").write_text("file,class_index\ndeep/a.png,3\na.png,3\n")
    assert read_truth("classify", [tmp_path]) == {"a.png": {"class": 3}}  # without folders, as in COCO's format
    (tmp_path / "instances.json").write_text(json.dumps({
        "images": [{"id": 1, "file_name": "deep/a.jpg"}],
        "annotations": [{"image_id": 1, "bbox": [1, 2, 3, 4], "category_id": 5}],
    }))  # fmt: skip
    assert read_truth("detect", [tmp_path]) == {
        "a.jpg": {"boxes": [[1, 2, 4, 6]], "categories": [5], "crowd": [0], "shapes": [None]}
    }


def test_labels_that_name_other_pictures(pictures: Path, tmp_path: Path, run: Run) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "1.png").write_bytes((pictures / "2.png").read_bytes())
    (other / "labels.csv").write_text("file,class_index\n1.png,7\n")
    command = ["eval", "--task", "classify", "--recogniser", EXAMPLE, "--codec", "jpeg", "-o", tmp_path / "r"]
    code, _, error = run(*command, pictures, other)
    assert code == 2
    assert "the labels say two things of 1.png" in " ".join(error.split())
    (other / "labels.csv").unlink()
    code, _, error = run(*command, pictures, other)
    assert code == 2
    assert "2 different pictures are called 1.png" in " ".join(error.split())
    (tmp_path / "mine.csv").write_text("file,class_index\nabsent.png,7\n")
    code, _, error = run(*command, pictures, "--labels", tmp_path / "mine.csv")
    assert code == 2
    assert "name none of the pictures" in " ".join(error.split())
    assert not (tmp_path / "r").exists()
