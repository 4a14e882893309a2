"""The engine of a cluster: what Ray says of deaths, and jobs on a small cluster of this machine (slow)."""

import data_sets
import pytest
from data_sets import KILLER, KillingSettings, read_tar, samples, tree, write_tar

pytest.importorskip("ray", reason="needs promptcodec[ray]")

import ray

from promptcodec.batch.engine import Finished
from promptcodec.batch.job import run_job
from promptcodec.batch.local_engine import LocalEngine
from promptcodec.batch.manifest import Job, Manifest
from promptcodec.batch.planning import plan_shards
from promptcodec.batch.ray_cluster import connected
from promptcodec.batch.ray_engine import LOST, RayEngine, _reason, with_absolute_paths
from promptcodec.batch.settings import DecodeSettings, EncodeSettings
from promptcodec.batch.work import _NOBODY
from promptcodec.errors import PromptcodecError, UsageError


def drive(source, target, settings, engine):
    plan = plan_shards([str(source)], str(target), "encode", ".ptc", workers=2)
    manifest, job = Manifest(str(target)), Job(settings)
    manifest.begin(job)
    done = manifest.done()
    return run_job(job, done.remaining(plan.shards), manifest, done, engine, _NOBODY)


def test_deaths_are_told_in_words_for_people():
    assert _reason(ray.exceptions.ActorDiedError()) == "died"
    causes = "Some common causes include: (1) the process was killed by the OOM killer due to high memory usage"
    assert _reason(RuntimeError(causes)) == "died"  # Ray guesses
    assert _reason(ray.exceptions.NodeDiedError("gone")) == LOST
    assert _reason(ray.exceptions.OutOfMemoryError("full")) == "was killed as its machine ran out of memory"


def test_files_of_the_settings_are_named_from_the_root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("model.safetensors", "adapter.safetensors", "map.png"):
        (tmp_path / name).touch()
    settings = with_absolute_paths(
        EncodeSettings(model="model.safetensors", adapters=("adapter.safetensors", "look"), maps=(("roi", "map.png"),))
    )
    assert settings.model == str(tmp_path / "model.safetensors")
    assert settings.adapters == (str(tmp_path / "adapter.safetensors"), "look")
    assert settings.maps == (("roi", str(tmp_path / "map.png")),)
    assert with_absolute_paths(DecodeSettings(model="nano")).model == "nano"


def test_a_cluster_that_does_not_answer_is_named():
    with (
        pytest.raises(PromptcodecError, match=r"no cluster answers at 127\.0\.0\.1:1"),
        connected("127.0.0.1:1:2", 1),
    ):
        pass


@pytest.mark.slow
def test_a_cluster_writes_what_one_machine_writes(local_ray, tmp_path):
    write_tar(tmp_path / "in" / "a.tar", samples(3))
    write_tar(tmp_path / "in" / "b.tar", [*samples(2, first=3), ("d/broken.jpg", b"no picture")])
    (tmp_path / "in" / "c.jpg").write_bytes(next(iter(samples(1)))[1])
    settings = EncodeSettings(quality=40)
    summaries = [
        drive(tmp_path / "in", tmp_path / name, settings, engine)
        for name, engine in (("local", LocalEngine(settings, 1)), ("ray", RayEngine(settings, 2)))
    ]
    assert tree(tmp_path / "ray") == tree(tmp_path / "local")
    assert len(tree(tmp_path / "ray")) == 3
    for summary in summaries:
        assert (summary.shards, summary.unfinished, summary.progress.pictures) == (3, 0, 6)
        assert [failure.file.rpartition("/")[2] for failure in summary.failures] == ["broken.jpg"]
    with pytest.raises(UsageError, match="connected to a cluster already"), connected("auto", 1):
        pass


@pytest.mark.slow
def test_a_picture_that_kills_its_workers_is_found_and_listed_alone(local_ray, tmp_path, capfd):
    write_tar(tmp_path / "in" / "t.tar", [*samples(1), ("d/killer.jpg", KILLER)])
    settings = KillingSettings(verify=False)
    ray.cloudpickle.register_pickle_by_value(data_sets)  # which is nowhere on the workers' path
    summary = drive(tmp_path / "in", tmp_path / "out", settings, RayEngine(settings, 2))
    (failure,) = summary.failures
    assert failure.file.endswith("d/killer.jpg") and "died" in failure.message
    assert (summary.progress.pictures, summary.unfinished, summary.deaths) == (
        1,
        0,
        6,
    )  # two of the whole, of a half, and of the killer alone
    assert [name for name in read_tar(tmp_path / "out" / "t.tar") if name.endswith(".ptc")] == ["d/000.ptc"]
    assert not capfd.readouterr().out  # which is for records


@pytest.mark.slow
def test_a_job_that_is_stopped_drops_its_shards(local_ray, tmp_path):
    for number in range(3):
        write_tar(tmp_path / "in" / f"{number}.tar", samples(2, first=2 * number))
    settings = EncodeSettings(quality=40)
    manifest, job = Manifest(str(tmp_path / "out")), Job(settings)
    manifest.begin(job)
    shards = plan_shards([str(tmp_path / "in")], str(tmp_path / "out"), "encode", ".ptc").shards
    finished = []
    with RayEngine(settings, 1) as engine:
        for shard in shards:
            engine.submit(shard)
        engine.stop()
        while len(finished) < len(shards):
            finished += [event for event in engine.events(1) if isinstance(event, Finished)]
    assert {event.record.status for event in finished} == {"stopped"}
    assert not tree(tmp_path / "out")
