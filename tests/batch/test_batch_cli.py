"""``promptcodec batch`` as people and programs meet it."""

import json

from data_sets import BROKEN, jpeg, read_tar, samples, tree, write_tar


def records(out):
    found = [json.loads(line) for line in out.splitlines()]
    assert all((record["schema"], record["verb"]) == (1, "batch") for record in found)
    return found


def test_encode_status_retry_and_decode(run, tmp_path):
    source, coded = tmp_path / "in", tmp_path / "coded"
    write_tar(source / "t.tar", [*samples(2), ("d/bad.jpg", BROKEN)])
    (source / "one.jpg").write_bytes(jpeg(3))
    (source / "notes.txt").write_text("no picture")
    code, out, err = run("batch", "encode", source, coded, "-j", 1, "-q", 30)
    assert code == 1
    assert err.splitlines() == [
        f"promptcodec: {source / 't.tar'}/d/bad.jpg: not a picture that Pillow can read",
        "promptcodec: passed over 1 file that is no picture: 1 .txt",
    ]
    assert "2 shards: 2 done" in out
    assert f"1 failure, listed in {coded}/_promptcodec/failures.jsonl" in out
    code, out, err = run("batch", "encode", source, "-o", coded, "-q", 30, "--json")
    (summary,) = records(out)
    assert (code, summary["record"], summary["shards"], summary["shards_earlier"]) == (1, "summary", 0, 2)
    code, out, err = run("batch", "encode", source, coded, "-q", 31)
    assert (code, out) == (2, "")
    assert "was begun with quality 30.0, not 31.0" in err
    code, out, _ = run("batch", "status", coded, "--json", "--check")
    (status,) = records(out)
    assert (code, status["shards_left"], status["pictures"], status["failures"]) == (1, 0, 3, 1)
    assert status["wrong_outputs"] == []
    assert [record["record"] for record in records(run("batch", "status", coded, "--failures")[1])] == ["failure"]
    write_tar(source / "t.tar", [*samples(2), ("d/bad.jpg", jpeg(4))])
    code, out, _ = run("batch", "retry", coded, "-j", 1, "--json")
    shard, summary = records(out)
    assert (code, shard["record"], shard["pictures"], summary["failures"]) == (0, "shard", 3, 0)
    assert len(read_tar(coded / "t.tar")) == 7
    code, out, err = run("batch", "decode", coded, tmp_path / "pictures", "-j", 1, "--format", "webp")
    assert (code, err) == (0, "")
    assert sorted(tree(tmp_path / "pictures")) == ["one.webp", "t.tar"]
    assert sum(name.endswith(".webp") for name in read_tar(tmp_path / "pictures" / "t.tar")) == 3


def test_eval_ends_with_means(run, tmp_path):
    write_tar(tmp_path / "in" / "t.tar", samples(1))
    code, out, err = run("batch", "eval", tmp_path / "in", tmp_path / "out", "--codec", "jpeg", "-q", 30, "-j", 1)
    assert (code, err) == (0, "")
    assert "jpeg @ 30: bpp " in out
    (row,) = map(json.loads, (tmp_path / "out" / "t.tar.jsonl").read_text().splitlines())
    assert row["picture"] == "000.jpg"


def test_what_makes_no_sense_is_said_before_any_worker_starts(run, tmp_path):
    (tmp_path / "a.jpg").write_bytes(jpeg())
    for arguments, message in (
        (("encode", tmp_path), "name the sources and then the destination"),
        (("encode", tmp_path / "nowhere", tmp_path / "out"), "there is no file or folder"),
        (("encode", tmp_path, tmp_path / "out", "-q", 5, "--target-bpp", 1), "exclude each other"),
        (("encode", tmp_path, tmp_path / "out", "--engine", "cloud"), "there is no engine 'cloud'"),
        (("encode", tmp_path, tmp_path / "out", "--model", "nowhere"), "there is no model"),
        (("decode", tmp_path, tmp_path / "out", "--format", "docx"), "Pillow writes no .docx"),
        (("encode", tmp_path, "-o", tmp_path / "out", "-o", tmp_path / "b"), "a job has one destination"),
        (("status", tmp_path), "holds no manifest"),
        (("encode", tmp_path, "nope://x/y"), "nope:// cannot be opened"),
    ):
        code, out, err = run("batch", *arguments)
        assert (code in (1, 2), out) == (True, ""), arguments
        assert message in err
        assert len(err.splitlines()) == 1
    assert not (tmp_path / "out" / "_promptcodec").exists()
