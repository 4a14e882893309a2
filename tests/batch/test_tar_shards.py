"""Tar shards: pictures coded, all else carried through; what is odd, damaged or dangerous."""

import gzip
import tarfile

import pytest
from data_sets import BROKEN, InlineEngine, jpeg, read_tar, samples, tree, write_tar

from promptcodec import batch
from promptcodec.batch.settings import EncodeSettings
from promptcodec.errors import UsageError


def encode(source, target, **options):
    return batch.encode(source, target, engine=InlineEngine(), verify=False, **options)


def messages(summary):
    return {failure.file.rpartition(".tar/")[2]: failure.message for failure in summary.failures}


def test_pictures_are_coded_as_encode_does_and_all_else_goes_through(run, tmp_path):
    write_tar(tmp_path / "in" / "sub" / "t-0.tar", samples(3))
    summary = encode(tmp_path / "in", tmp_path / "out")
    assert (summary.complete, summary.progress.pictures, summary.carried) == (True, 3, 6)
    before, after = (read_tar(tmp_path / place / "sub" / "t-0.tar") for place in ("in", "out"))
    assert list(after) == [name.replace(".jpg", ".ptc") for name in before]
    assert all(after[name] == data for name, data in before.items() if not name.endswith(".jpg"))
    loose = tmp_path / "loose"
    loose.mkdir()
    for number in range(3):
        (loose / f"{number:03}.jpg").write_bytes(before[f"d/{number:03}.jpg"])
    assert run("encode", loose, "-o", tmp_path / "coded")[0] == 0
    for number in range(3):
        assert after[f"d/{number:03}.ptc"] == (tmp_path / "coded" / f"{number:03}.ptc").read_bytes()
    with tarfile.open(tmp_path / "out" / "sub" / "t-0.tar") as tar:
        assert {info.mtime for info in tar} == {1_234_567_890.5}


def test_the_same_shard_gives_the_same_bytes(tmp_path):
    write_tar(tmp_path / "in" / "t.tar", samples(2))
    for target in ("one", "two"):
        encode(tmp_path / "in", tmp_path / target)
    assert tree(tmp_path / "one") == tree(tmp_path / "two") != {}


def test_names_that_lead_elsewhere_duplicates_links_and_broken_pictures(tmp_path):
    link = tarfile.TarInfo("link.jpg")
    link.type, link.linkname = tarfile.SYMTYPE, "a/b.c.jpg"
    device = tarfile.TarInfo("null")
    device.type = tarfile.CHRTYPE
    folder = tarfile.TarInfo("a")
    folder.type = tarfile.DIRTYPE
    members = [
        (folder, None), ("a/b.c.jpg", jpeg(1)), ("./e.jpg", jpeg(2)), ("/abs.jpg", jpeg(3)), ("../up.jpg", jpeg(4)),
        ("x/../../up.txt", b"text"), ("a/b.c.jpg", jpeg(5)), ("a/b.c.png", jpeg(6, "PNG")), (link, None),
        (device, None), ("broken.jpg", BROKEN), ("broken.txt", b"its caption"), (".jpg", b"hidden"),
        ("long/" + "n" * 150 + ".jpg", jpeg(7)), ("caption.txt", b"one"), ("caption.txt", b"two"),
    ]  # fmt: skip
    write_tar(tmp_path / "in" / "t.tar", members)
    summary = encode(tmp_path / "in", tmp_path / "out")
    listed = messages(summary)
    assert set(listed) == {"/abs.jpg", "../up.jpg", "x/../../up.txt", "a/b.c.jpg", "a/b.c.png", "link.jpg", "null",
                           "broken.jpg", "caption.txt"}  # fmt: skip
    assert "absolute path" in listed["/abs.jpg"]
    assert "leads out" in listed["../up.jpg"]
    assert "another member before it is, or becomes, a/b.c.ptc" in listed["a/b.c.jpg"]
    assert "links to pictures are not followed" in listed["link.jpg"]
    assert "not a picture" in listed["broken.jpg"]
    assert list(read_tar(tmp_path / "out" / "t.tar")) == [
        "a", "a/b.c.ptc", "./e.ptc", "broken.txt", ".jpg", "long/" + "n" * 150 + ".ptc", "caption.txt",
    ]  # fmt: skip
    assert not (tmp_path / "up.jpg").exists()


@pytest.mark.parametrize("cut", [300, 512, 900, 1024, -11_000, -10_240])
def test_a_shard_that_is_cut_off_fails_as_a_whole_and_the_others_go_on(tmp_path, cut):
    whole = write_tar(tmp_path / "in" / "a.tar", samples(3)).read_bytes()
    (tmp_path / "in" / "a.tar").write_bytes(whole[: cut if cut > 0 else len(whole.rstrip(b"\0")) + 11_000 + cut])
    write_tar(tmp_path / "in" / "b.tar", samples(1))
    summary = encode(tmp_path / "in", tmp_path / "out")
    assert list(tree(tmp_path / "out")) == ["b.tar"]
    assert [failure.file for failure in summary.failures] == [str(tmp_path / "in" / "a.tar")]
    assert not summary.complete


def test_a_damaged_header_is_no_end(tmp_path):
    path = write_tar(tmp_path / "in" / "a.tar", samples(3))
    data = bytearray(path.read_bytes())
    place = data.index(b"d/001.jpg")
    data[place + 148 : place + 156] = b"garbage!"  # the checksum
    path.write_bytes(data)
    (failure,) = encode(tmp_path / "in", tmp_path / "out").failures
    assert "is damaged" in failure.message or "invalid header" in failure.message  # by the version of tarfile
    assert tree(tmp_path / "out") == {}


def test_retry_writes_a_mended_shard(tmp_path):
    path = write_tar(tmp_path / "in" / "a.tar", [("a.jpg", jpeg()), ("b.jpg", BROKEN)])
    first = encode(tmp_path / "in", tmp_path / "out")
    assert list(messages(first)) == ["b.jpg"]
    write_tar(path, [("a.jpg", jpeg()), ("b.jpg", jpeg(1))])
    assert not encode(tmp_path / "in", tmp_path / "out").shards  # what the manifest has is done
    again = batch.retry(tmp_path / "out", engine=InlineEngine())
    assert (again.complete, again.shards, again.earlier) == (True, 1, 0)
    assert list(read_tar(tmp_path / "out" / "a.tar")) == ["a.ptc", "b.ptc"]


def test_extensions_say_which_members_are_pictures(tmp_path):
    write_tar(tmp_path / "in" / "a.tar", [("a.jpg", jpeg()), ("a.seg.png", jpeg(1, "PNG")), ("b.left.jpg", jpeg(2))])
    encode(tmp_path / "in", tmp_path / "out", extensions=["jpg"])
    assert list(read_tar(tmp_path / "out" / "a.tar")) == ["a.ptc", "a.seg.png", "b.left.ptc"]


def test_decoding_gives_pictures_in_the_same_layout(tmp_path):
    write_tar(tmp_path / "in" / "t.tar", samples(2))
    encode(tmp_path / "in", tmp_path / "coded")
    from promptcodec.batch.settings import DecodeSettings

    summary = batch.decode(tmp_path / "coded", tmp_path / "out", engine=InlineEngine(DecodeSettings()))
    assert summary.complete
    decoded = read_tar(tmp_path / "out" / "t.tar")
    assert list(decoded) == [name.replace(".jpg", ".png") for name in read_tar(tmp_path / "in" / "t.tar")]
    assert decoded["d/001.png"].startswith(b"\x89PNG")


def test_settings_reach_the_files(tmp_path):
    write_tar(tmp_path / "in" / "t.tar", samples(1))
    sizes = []
    for quality in (10.0, 90.0):
        settings = EncodeSettings(quality, verify=False)
        target = tmp_path / f"{quality}"
        batch.encode(tmp_path / "in", target, quality=quality, verify=False, engine=InlineEngine(settings))
        sizes.append(len(read_tar(target / "t.tar")["d/000.ptc"]))
    assert sizes[0] < sizes[1]


@pytest.mark.parametrize("suffix", [".tar.gz", ".TGZ"])
def test_compressed_shards_are_read_and_written_uncompressed(tmp_path, suffix):
    whole = write_tar(tmp_path / "plain" / "t.tar", samples(2)).read_bytes()
    (tmp_path / "in").mkdir()
    packed = tmp_path / "in" / f"t{suffix}"
    packed.write_bytes(gzip.compress(whole))
    for source, target in ((tmp_path / "plain", "one"), (tmp_path / "in", "two"), (packed, "three")):
        assert encode(source, tmp_path / target).complete
    assert tree(tmp_path / "one") == tree(tmp_path / "two") == tree(tmp_path / "three")
    assert list(tree(tmp_path / "one")) == ["t.tar"]


@pytest.mark.parametrize("damage", [lambda data: data[:-9], lambda data: data[:600], lambda data: b"no gzip" + data,
                                    lambda data: data[:300] + bytes(50) + data[350:]])  # fmt: skip
def test_a_compressed_shard_that_is_damaged_fails_as_a_whole(tmp_path, damage):
    whole = write_tar(tmp_path / "t.tar", samples(2)).read_bytes()
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "t.tgz").write_bytes(damage(gzip.compress(whole)))
    summary = encode(tmp_path / "in", tmp_path / "out")
    assert [failure.file for failure in summary.failures] == [str(tmp_path / "in" / "t.tgz")]
    assert not tree(tmp_path / "out")


def test_other_compressed_tar_files_are_refused_by_name(tmp_path):
    (tmp_path / "t.tar.xz").write_bytes(b"")
    with pytest.raises(UsageError, match=r"only .tar.gz and .tgz are read; unpack it"):
        encode(tmp_path / "t.tar.xz", tmp_path / "out")
