"""Jobs over loose files: exactly once, going on where they stopped, and what they refuse."""

import errno
import json

import pytest
from data_sets import BROKEN, InlineEngine, jpeg, tree

from promptcodec import batch
from promptcodec.batch.manifest import Manifest
from promptcodec.errors import DestinationError, PromptcodecError, UsageError
from promptcodec.system import atomic


@pytest.fixture
def photos(tmp_path):
    """A folder of six pictures, one of them broken."""
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    for number in range(5):
        (folder / ("sub" if number > 2 else ".") / f"{number}.jpg").write_bytes(jpeg(number))
    (folder / "bad.jpg").write_bytes(BROKEN)
    (folder / "notes.txt").write_text("no picture")
    return folder


def encode(source, target, most=None, **options):
    return batch.encode(source, target, engine=InlineEngine(most=most), verify=False, workers=1, **options)


def test_outputs_equal_those_of_encode(run, photos, tmp_path):
    summary = encode(photos, tmp_path / "out")
    assert (summary.progress.pictures, [f.file for f in summary.failures]) == (5, [str(photos / "bad.jpg")])
    assert run("encode", "-r", photos, "-o", tmp_path / "coded")[0] == 1
    assert tree(tmp_path / "out") == tree(tmp_path / "coded")
    assert len(tree(tmp_path / "out")) == 5
    (line,) = (tmp_path / "out" / "_promptcodec" / "failures.jsonl").read_text().splitlines()
    assert json.loads(line)["file"] == str(photos / "bad.jpg")


def test_a_job_that_was_stopped_goes_on_and_does_nothing_twice(photos, tmp_path):
    stopped = encode(photos, tmp_path / "out", most=1)
    assert stopped.stopped
    assert not stopped.complete
    earlier = set(tree(tmp_path / "out"))
    assert 0 < len(earlier) < 5
    rest = encode(photos, tmp_path / "out")
    assert rest.progress.pictures == 5 - len(earlier)
    (photos / "new.jpg").write_bytes(jpeg(9))  # other shards than before, and yet only what is new is done
    assert encode(photos, tmp_path / "out").progress.pictures == 1
    assert encode(photos, tmp_path / "out").shards == 0
    done = Manifest(str(tmp_path / "out")).done()
    assert sum(record.pictures for record in done.records.values()) == 6
    assert sorted(done.files) == sorted(str(path) for path in photos.rglob("*.jpg") if path.stem != "bad")
    assert not list(Manifest(str(tmp_path / "out")).wrong_outputs(done))
    (tmp_path / "out" / "0.ptc").write_bytes(b"damaged")
    assert list(Manifest(str(tmp_path / "out")).wrong_outputs(done)) == ["0.ptc"]


def test_retry_tries_failed_files_alone(photos, tmp_path):
    encode(photos, tmp_path / "out")
    (photos / "bad.jpg").write_bytes(jpeg(8))
    engine = InlineEngine()
    summary = batch.retry(tmp_path / "out", engine=engine)
    assert summary.complete
    assert [[member.source for member in shard.members] for shard in engine.tried] == [[str(photos / "bad.jpg")]]
    assert len(tree(tmp_path / "out")) == 6
    assert not batch.failures(tmp_path / "out")


def test_other_settings_are_refused(photos, tmp_path):
    encode(photos, tmp_path / "out")
    with pytest.raises(UsageError, match=r"begun with quality 50.0, not 60\.0; .*strip False, not True"):
        encode(photos, tmp_path / "out", quality=60, strip=True)
    record = next((tmp_path / "out" / "_promptcodec" / "shards").iterdir())
    record.write_text(record.read_text().replace('"settings": "', '"settings": "x'))
    with pytest.raises(PromptcodecError, match="mixed there"):
        encode(photos, tmp_path / "out")
    record.write_text("{")
    with pytest.raises(PromptcodecError, match="cannot be read"):
        encode(photos, tmp_path / "out")


def test_destinations_and_sources_that_make_no_sense(photos, tmp_path):
    with pytest.raises(UsageError, match="is the destination too"):
        encode(photos, photos)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="holds files but no manifest"):
        encode(photos, tmp_path / "full")
    assert encode(photos, tmp_path / "full", overwrite=True).progress.pictures == 5
    with pytest.raises(UsageError, match="there is no file or folder"):
        encode(tmp_path / "nowhere", tmp_path / "out")
    (photos / "0.png").write_bytes(jpeg(0, "PNG"))
    with pytest.raises(UsageError, match=r"would both be written to 0.ptc"):
        encode(photos, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_destination_below_the_source_is_no_source(photos):
    assert encode(photos, photos / "coded").progress.pictures == 5
    assert encode(photos, photos / "coded").shards == 0


def test_a_full_destination_ends_the_job_and_leaves_what_can_go_on(photos, tmp_path, monkeypatch):
    def no_room(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    encode(photos, tmp_path / "out", most=1)
    before = tree(tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr(atomic.os, "fsync", no_room)
        with pytest.raises(DestinationError, match=r"cannot be written: it is full"):
            encode(photos, tmp_path / "out")
    assert tree(tmp_path / "out") == before
    encode(photos, tmp_path / "out")
    assert len(tree(tmp_path / "out")) == 5


def test_names_that_are_not_text(photos, tmp_path):
    name = b"\xff.jpg".decode("utf-8", "surrogateescape")
    (photos / name).write_bytes(BROKEN)
    encode(photos, tmp_path / "out")
    (photos / name).write_bytes(jpeg(7))
    batch.retry(tmp_path / "out", engine=InlineEngine())
    assert (tmp_path / "out" / name.replace(".jpg", ".ptc")).exists()


def test_measurements(photos, tmp_path):
    from promptcodec.batch.measuring import means
    from promptcodec.batch.settings import EvalSettings

    plan = (("jpeg", (30.0, 60.0)),)
    summary = batch.evaluate(
        photos, tmp_path / "out", codecs={"jpeg": [30, 60]}, engine=InlineEngine(EvalSettings(plan)), workers=1
    )
    rows = [json.loads(line) for path in (tmp_path / "out").glob("rows-*.jsonl") for line in path.open()]
    assert len(rows) == 10
    assert len(summary.failures) == 1
    averages = means(summary.sums)
    assert len(averages) == 2
    low, high = averages.values()
    assert low["psnr"] < high["psnr"]
    assert low["psnr"] == pytest.approx(sum(row["psnr"] for row in rows if row["setting"] == 30) / 5)


def test_a_region_is_said_as_to_encode(run, photos, tmp_path):
    for place, options in (("region", ("--roi", "10,10,20,20")), ("none", ())):
        assert run("batch", "encode", photos / "sub" / "3.jpg", tmp_path / place, "-j", 1, *options)[0] == 0
    assert run("encode", photos / "sub" / "3.jpg", "-o", tmp_path / "one.ptc", "--roi", "10,10,20,20")[0] == 0
    steered, plain = ((tmp_path / place / "3.ptc").read_bytes() for place in ("region", "none"))
    assert len(steered) != len(plain)
    assert abs(len(steered) - (tmp_path / "one.ptc").stat().st_size) < 32  # the stamp of a batch
    engine = InlineEngine(Manifest(str(tmp_path / "region")).job().settings)
    batch.encode(photos / "sub" / "3.jpg", tmp_path / "again", roi="10,10,20,20", engine=engine)
    assert (tmp_path / "again" / "3.ptc").read_bytes() == steered
    with pytest.raises(UsageError, match="roi is given twice"):
        batch.encode(photos, tmp_path / "out", roi="0,0,9,9", maps={"roi": "0,0,9,9"}, engine=engine)
