"""A job from and to a stand-in for S3, and keys that are refused."""

import socket

import pytest
from data_sets import BROKEN, InlineEngine, jpeg, samples, write_tar

from promptcodec import batch
from promptcodec.batch import addresses, process
from promptcodec.batch.manifest import Manifest
from promptcodec.batch.storage import open_storage
from promptcodec.errors import DestinationError, SourceError, UsageError

s3fs = pytest.importorskip("s3fs", reason="the S3 stand-in needs s3fs")
server = pytest.importorskip("moto.server", reason="the S3 stand-in needs moto[server]")


@pytest.fixture
def bucket(monkeypatch):
    """A file system on a fresh server, in which there is an empty bucket ``bucket``."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    standin = server.ThreadedMotoServer("127.0.0.1", port, verbose=False)
    standin.start()
    for name, value in {
        "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{port}",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    _forget()
    system = s3fs.S3FileSystem()
    system.mkdir("bucket")
    yield system
    system.rm("bucket", recursive=True)  # stand-ins in one process share what they store
    _forget()
    standin.stop()


def _forget():
    """Drop the connections to an earlier stand-in, which a process keeps."""
    s3fs.S3FileSystem.clear_instance_cache()
    addresses.file_system.cache_clear()
    process._storage.cache_clear()


def encode(source, target, **options):
    return batch.encode(source, target, engine=InlineEngine(), verify=False, workers=2, **options)


def test_a_job_from_bucket_to_bucket_equals_one_on_disk(bucket, tmp_path):
    (tmp_path / "in").mkdir()
    write_tar(tmp_path / "in" / "t.tar", samples(2))
    (tmp_path / "in" / "one.jpg").write_bytes(jpeg(3))
    (tmp_path / "in" / "bad.jpg").write_bytes(BROKEN)
    for path in (tmp_path / "in").iterdir():
        bucket.put_file(str(path), f"bucket/in/{path.name}")
    there = encode("s3://bucket/in/", "s3://bucket/out")
    here = encode(tmp_path / "in", tmp_path / "out")
    assert there.progress == here.progress
    assert [failure.file for failure in there.failures] == ["s3://bucket/in/bad.jpg"]
    for name in ("t.tar", "one.ptc"):
        assert bucket.cat_file(f"bucket/out/{name}") == (tmp_path / "out" / name).read_bytes()
    assert encode("s3://bucket/in/", "s3://bucket/out").shards == 0
    assert not list(Manifest("s3://bucket/out").wrong_outputs(Manifest("s3://bucket/out").done()))
    assert encode(["s3://bucket/in/t.tar", tmp_path / "in" / "one.jpg"], tmp_path / "mixed").complete
    with pytest.raises(UsageError, match="begun with quality"):
        encode("s3://bucket/in", "s3://bucket/out", quality=10)


def test_a_name_is_taken_once(bucket):
    storage = open_storage("s3://bucket/x")
    assert storage.empty()
    assert storage.create("a.json", b"1")
    assert not storage.create("a.json", b"2")
    assert storage.read("a.json") == b"1"
    assert storage.read("b.json") is None


def test_what_fails_half_way_leaves_no_object(bucket):
    def fill(file):
        file.write(b"half")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        open_storage("s3://bucket/x").write("a.tar", fill)
    assert not bucket.exists("bucket/x/a.tar")


def _refuse(*_, **__):
    raise PermissionError("Access Denied")


def test_refused_keys_are_a_line_and_end_the_job(bucket, monkeypatch):
    for number in range(8):
        bucket.pipe_file(f"bucket/in/{number}.jpg", jpeg(number))
    system = addresses.file_system("s3")
    line = "access is refused .Access Denied.; check the keys"
    for method, error, told in (
        ("pipe_file", DestinationError, f"s3://bucket/out/.* cannot be written: {line}"),
        ("open", SourceError, f"s3://bucket/in/.* cannot be read: {line}.*; so it was with 5 shards in a row"),
        ("find", SourceError, f"s3://bucket/in cannot be read: {line}"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(system, method, _refuse)
            with pytest.raises(error, match=told):
                encode("s3://bucket/in", "s3://bucket/out")
        assert not Manifest("s3://bucket/out").done().records
    with pytest.raises(UsageError, match="nope:// cannot be opened"):
        encode("nope://bucket/in", "s3://bucket/out")
    assert encode("s3://bucket/in", "s3://bucket/out").complete
