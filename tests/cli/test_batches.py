"""Batches that meet bad files, full disks, and the end of their process."""

import errno
import json
import os
import resource
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from pictures import make_photo
from PIL import Image

from promptcodec.cli import jobs
from promptcodec.system import atomic


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def lines(text):
    return [line for line in text.splitlines() if line]


def test_a_batch_goes_on_after_bad_files_ends_with_a_summary_and_resumes(run, folder):
    (folder / "broken.jpg").write_bytes((folder / "b.jpg").read_bytes()[:500])
    command = ("encode", "-r", folder, "-o", folder / "coded", "--skip-existing")
    code, out, err = run(*command)
    assert (code, out.splitlines()[-1], len(lines(err))) == (1, "4 files: 3 done, 1 failed", 1)
    (folder / "coded" / "b.ptc").unlink()  # as if it had been cut off before
    code, out, err = run(*command)
    assert (code, out.splitlines()[-1]) == (1, "4 files: 1 done, 1 failed, 2 skipped")
    assert files(folder / "coded") == ["a.ptc", "b.ptc", "sub/c.ptc"]
    code, out, _ = run(*command, "--json")
    assert [json.loads(line)["status"] for line in out.splitlines()] == ["skipped", "skipped", "failed", "skipped"]


def _work_or_die(job):
    if "killer" in job.source:
        os.kill(os.getpid(), signal.SIGKILL)
    if "odd" in job.source:
        raise ZeroDivisionError("nobody expected this")
    return jobs.Outcome(job.source, job.target, "done")


def test_a_killed_worker_costs_only_its_own_file(capfd):
    planned = [jobs.Job(f"{name}{i}", f"{name}{i}.ptc") for i, name in enumerate(["a", "killer", "b", "odd", "c", "d"])]
    assert jobs.run(planned, _work_or_die, 2, int, False, partial(jobs.report, "encode")) == 1
    out, err = capfd.readouterr()
    *reported, summary = out.splitlines()
    assert summary == "6 files: 4 done, 2 failed"
    assert sorted(line.split(":")[0] for line in reported) == ["a0.ptc", "b2.ptc", "c4.ptc", "d5.ptc"]
    assert sorted(line.split(":")[1].strip() for line in err.splitlines()) == ["killer1", "odd3"]
    assert "please report" in err


def _no_room(_):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_leaves_nothing_and_ends_the_batch(run, folder, monkeypatch):
    monkeypatch.setattr(atomic.os, "fsync", _no_room)
    before = files(folder)
    code, out, err = run("encode", folder / "a.png")
    assert (code, out) == (1, "")
    assert lines(err) == [f"promptcodec: {folder / 'a.png'}: No space left on device"]
    code, out, err = run("encode", "-r", folder)
    assert (code, out.splitlines()) == (1, ["3 files: 3 not finished"])
    assert lines(err) == [f"promptcodec: {folder / 'a.png'}: No space left on device"]
    assert files(folder) == before


def test_the_next_batch_removes_what_killed_ones_left(run, folder):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    other = "0" * 8 if atomic._machine() != "0" * 8 else "1" * 8
    left = f".promptcodec-{atomic._machine()}-{gone.pid}-0.tmp"
    kept = [
        f".promptcodec-{atomic._machine()}-{os.getpid()}-99.tmp",  # of one that lives
        f".promptcodec-{atomic._machine()}-1-0.tmp",  # which need not be ours
        f".promptcodec-{other}-{gone.pid}-0.tmp",  # of another machine
        f".promptcodec-{gone.pid}-0.tmp",
        f"promptcodec-{atomic._machine()}-{gone.pid}-0.tmp",
        f".promptcodec-{atomic._machine()}-{gone.pid}-0.tmp.png",
    ]
    out = folder / "coded"
    out.mkdir()
    for name in (left, *kept):
        (out / name).write_bytes(b"half")
    (out / left.replace("-0.tmp", "-1.tmp")).mkdir()
    (out / left.replace("-0.tmp", "-2.tmp")).symlink_to(folder / "a.png")
    assert run("encode", folder / "a.png", "-o", out)[0] == 0
    found = {path.name for path in out.iterdir()}
    assert found == {"a.ptc", *kept, left.replace("-0.tmp", "-1.tmp"), left.replace("-0.tmp", "-2.tmp")}
    assert (folder / "a.png").exists()


def test_a_killed_writer_leaves_what_the_next_one_recognises(tmp_path):
    """The name that is written is the name that is looked for."""
    script = f"""
import os, signal
from pathlib import Path
from promptcodec.system.atomic import atomic_write
with atomic_write(Path({str(tmp_path / "x.ptc")!r})) as file:
    file.write(b"half")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -signal.SIGKILL
    assert [path.suffix for path in tmp_path.iterdir()] == [".tmp"]
    with atomic.atomic_write(tmp_path / "x.ptc") as file:
        file.write(b"whole")
    assert files(tmp_path) == ["x.ptc"]


def test_eval_on_a_full_disk_ends_with_one_line_and_goes_on_later(run, folder, monkeypatch):
    out = folder / "rows.jsonl"
    command = ("eval", folder / "a.png", "--codec", "jpeg", "-q", 20, "-q", 50, "-o", out, "--anchor", "none")
    real, calls = Path.open, []

    def full_at_the_second(self, mode="r", *rest, **named):
        file = real(self, mode, *rest, **named)
        if self == out and mode == "a":
            calls.append(self)
            if len(calls) == 2:
                file.write('{"codec"')
                file.close()
                _no_room(None)
        return file

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", full_at_the_second)
        code, _, err = run(*command)
    assert code == 1
    assert lines(err) == [f"promptcodec: cannot write the results {out}: No space left on device; its rows are kept, "
                          "the same command goes on"]  # fmt: skip
    assert len(out.read_text().splitlines()) == 2  # a row, and half of one
    assert run(*command)[0] == 0
    assert [json.loads(line)["setting"] for line in out.read_text().splitlines()] == [20, 50]


def _job_without_room(job):
    if "full" in job.source:
        _no_room(None)
    return jobs.Outcome(job.source, job.target, "done")


def test_a_full_disk_ends_worker_processes(capfd):
    planned = [jobs.Job(f"full{i}", f"{i}.ptc") for i in range(20)]
    with pytest.raises(jobs.DiskFullError, match="No space left"):
        jobs.run(planned, _job_without_room, 2, int, False, partial(jobs.report, "encode"))
    assert capfd.readouterr().err == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("verb", ["encode", "decode png", "decode jpg", "decode webp", "decode tiff"])
def test_a_device_that_is_full(run, folder, verb):
    verb, _, format = verb.partition(" ")
    run("encode", folder / "a.png")
    source = folder / ("a.ptc" if verb == "decode" else "a.png")
    more = ("--format", format) if format else ()
    code, _, err = run(verb, source, "-o", "/dev/full", "--overwrite", *more)
    assert (code, lines(err)) == (1, [f"promptcodec: {source}: No space left on device"])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_under_the_pillow_plugin(photo):
    import promptcodec.pillow  # noqa: F401

    with Path("/dev/full").open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        Image.fromarray(photo[:64, :64]).save(file, "PTC")


def test_the_pillow_plugin_leaves_no_half_file(tmp_path, photo):
    """Pillow itself removes what a plugin could not finish; ours writes once, when all bytes are there."""
    script = f"""
import resource, promptcodec.pillow
from PIL import Image
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
Image.open({str(tmp_path / "a.png")!r}).save({str(tmp_path / "a.ptc")!r})
"""
    Image.fromarray(photo).save(tmp_path / "a.png")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "File too large" in done.stderr
    assert files(tmp_path) == ["a.png"]


@pytest.mark.parametrize("verb", ["encode", "decode png", "decode jpg", "decode webp", "decode tiff"])
def test_files_that_may_not_grow_are_one_line_and_leave_nothing(run, folder, verb):
    """A quota on the size of a file fails as a full disk does, within a write and not at its end."""
    verb, _, format = verb.partition(" ")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)).save(folder / "noise.png")
    run("encode", folder / "noise.png", "-q", "90")
    source = folder / ("noise.ptc" if verb == "decode" else "noise.png")
    before = files(folder)
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, old[1]))
    try:
        code, _, err = run(verb, source, "-o", folder / ("out." + (format or "ptc")))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert (code, lines(err)) == (1, [f"promptcodec: {source}: File too large"])
    assert files(folder) == before


def test_what_does_not_fit_one_picture_does_not_stop_the_rest(run, folder):
    """A crop outside of a smaller picture, a picture too small for MS-SSIM: failures of those files alone."""
    assert run("encode", "-r", folder)[0] == 0
    code, out, err = run("decode", "-r", folder, "-o", folder / "parts", "--crop", "100,60,28,36")
    assert code == 1
    assert "is not inside the picture of 64 x 64" in err
    assert "3 files: 2 done, 1 failed" in out
    Image.fromarray(make_photo(180, 180)).save(folder / "sub" / "d.png")
    code, out, err = run("encode", "-r", folder / "sub", "-o", folder / "coded", "--target-ms-ssim", 0.95)
    assert code == 1
    assert "too small for MS-SSIM" in err
    assert "2 files: 1 done, 1 failed" in out
