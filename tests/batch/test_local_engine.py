"""Worker processes that die, drivers that are stopped or killed: each picture once, in the end."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from data_sets import KILLER, InlineEngine, KillingSettings, jpeg, read_tar, samples, tree, write_tar

from promptcodec.batch.addresses import normalised
from promptcodec.batch.job import run_job
from promptcodec.batch.local_engine import LocalEngine
from promptcodec.batch.manifest import Job, Manifest
from promptcodec.batch.planning import plan_shards
from promptcodec.batch.settings import EncodeSettings
from promptcodec.batch.work import _NOBODY, Running, run


def drive(source, target, settings, processes=1):
    plan = plan_shards([str(source)], str(target), "encode", ".ptc")
    manifest, job = Manifest(str(target)), Job(settings, (), "", (normalised(str(source)),))
    manifest.begin(job)
    done = manifest.done()
    return run_job(job, done.remaining(plan.shards), manifest, done, LocalEngine(settings, processes), _NOBODY)


@pytest.mark.parametrize("layout", ["tar", "files"])
def test_a_picture_that_kills_its_workers_is_found_and_listed_alone(tmp_path, layout):
    members = [("d/000.jpg", jpeg()), ("d/killer.jpg", KILLER), ("d/001.jpg", jpeg(1)), ("d/001.txt", b"caption")]
    if layout == "tar":
        write_tar(tmp_path / "in" / "t.tar", members)
    else:
        for name, data in members:
            (tmp_path / "in" / "d").mkdir(parents=True, exist_ok=True)
            (tmp_path / "in" / name).write_bytes(data)
    summary = drive(tmp_path / "in", tmp_path / "out", KillingSettings(verify=False))
    (failure,) = summary.failures
    assert failure.file.endswith("d/killer.jpg")
    assert "was killed by signal 9" in failure.message
    assert (summary.progress.pictures, summary.unfinished) == (2, 0)
    assert summary.deaths == (6 if layout == "tar" else 2)  # two of the whole, of a half, and of the killer alone
    outputs = read_tar(tmp_path / "out" / "t.tar") if layout == "tar" else tree(tmp_path / "out")
    assert [name for name in outputs if name.endswith(".ptc")] == ["d/000.ptc", "d/001.ptc"]
    assert layout == "files" or outputs["d/001.txt"] == b"caption"
    assert not list(Manifest(str(tmp_path / "out")).wrong_outputs(Manifest(str(tmp_path / "out")).done()))


def test_a_worker_that_dies_once_costs_nothing(tmp_path):
    write_tar(tmp_path / "in" / "a.tar", samples(2))
    write_tar(tmp_path / "in" / "b.tar", samples(2, first=2))
    summary = drive(tmp_path / "in", tmp_path / "out", KillingSettings(verify=False, once=str(tmp_path)), 2)
    assert (summary.complete, summary.deaths, summary.progress.pictures) == (True, 1, 4)
    assert sorted(tree(tmp_path / "out")) == ["a.tar", "b.tar"]


def _begin(source, target):
    command = [sys.executable, "-m", "promptcodec", "batch", "encode", str(source), str(target), "-j", "1"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _wait_for(condition, process):
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _children(pid):
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds worker processes by /proc, as Linux has it")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_driver_that_ends_early_leaves_no_half_shard_and_no_worker(tmp_path, number):
    for shard in range(6):
        write_tar(tmp_path / "in" / f"{shard}.tar", samples(5, first=5 * shard))
    out = tmp_path / "out"
    process = _begin(tmp_path / "in", out)
    _wait_for(lambda: list(out.glob("*.tar")), process)
    workers = _children(process.pid)
    assert workers
    process.send_signal(number)
    told, errors = process.communicate(timeout=60)
    assert process.returncode == (1 if number != signal.SIGKILL else -9), errors
    if number != signal.SIGKILL:
        assert "the same command goes on from here" in told
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{pid}").exists() for pid in workers):
        assert time.monotonic() < deadline, "a worker outlived its job"
        time.sleep(0.05)
    before = tree(out)
    assert 0 < len(before) < 6
    assert all(len(read_tar(out / name)) == 15 for name in before)
    manifest = Manifest(str(out))
    assert len(manifest.done().records) >= len(before) - 1
    settings = manifest.job().settings
    summary = run([tmp_path / "in"], out, settings, running=Running(InlineEngine(settings)))
    assert summary.complete
    assert sorted(tree(out)) == [f"{shard}.tar" for shard in range(6)]
    assert before.items() <= tree(out).items()
    assert sum(record.pictures for record in manifest.done().records.values()) == 30
    assert not list(out.glob(".promptcodec-*"))


@pytest.mark.parametrize("how", [["program.py"], ["-m", "program"]])
def test_a_program_needs_no_guard_and_may_lie_in_the_working_folder(tmp_path, how):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_bytes(jpeg())
    (tmp_path / "program.py").write_text(
        "from promptcodec import batch\nprint(batch.encode('in', 'out', verify=False, workers=1).complete)\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    ended = subprocess.run(
        [sys.executable, *how], check=False, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert (ended.stdout, ended.stderr) == ("True\n", "")


def test_a_worker_that_ends_before_it_has_begun_keeps_no_job_from_stopping(tmp_path):
    write_tar(tmp_path / "t.tar", samples(1))
    (shard,) = plan_shards([str(tmp_path / "t.tar")], str(tmp_path / "out"), "encode", ".ptc").shards
    others = multiprocessing.active_children()
    with LocalEngine(EncodeSettings(), 1) as engine:
        engine.submit(shard)
        (worker,) = (child for child in multiprocessing.active_children() if child not in others)
        worker.kill()
        engine.stop()
        deadline, events = time.monotonic() + 60, []
        while not events and time.monotonic() < deadline:  # another worker may have to start first
            events += engine.events(0.2)
    assert [event.record.status for event in events] == ["stopped"]
