"""Which files of folders are taken, and that none is passed over without a word."""

import os
import re

import pytest
from metadata_files import jpeg
from PIL import Image

from promptcodec.cli import inputs
from promptcodec.errors import UsageError
from promptcodec.picture.extensions import picture_extensions


def relative(found):
    return [str(one.relative) for one in found]


def test_every_extension_that_pillow_reads_is_taken():
    taken = picture_extensions()
    assert {".jpe", ".mpo", ".apng", ".avifs", ".jpx", ".qoi", ".dds", ".psd", ".ico"} <= taken
    assert not {".ptc", ".h5", ".pdf", ".eps", ".mpg"} & taken
    Image.init()
    for suffix in taken:
        assert suffix == ".mpo" or Image.registered_extensions()[suffix] in Image.OPEN


def test_a_batch_takes_unusual_extensions_and_counts_the_rest(run, tmp_path, photo):
    Image.fromarray(photo[:64, :64]).save(tmp_path / "a.jpe")
    Image.fromarray(photo[:64, :64]).save(tmp_path / "b.apng")
    (tmp_path / "c.mpo").write_bytes(jpeg(photo[:64, :64]))
    for name in ("notes.txt", "more.TXT", "film.mov", "README", "old.ptc", "\x1b[31m.\x1b]0;x"):
        (tmp_path / name).write_bytes(b"")
    code, out, err = run("encode", "-r", tmp_path, "-o", tmp_path / "coded")
    assert code == 0, err
    assert out.splitlines()[-1] == "3 files: 3 done"
    assert err == ("promptcodec: passed over 5 files that are no pictures: 1 .mov, 2 .txt, 1 no extension, 1 others\n")


def test_linked_folders_are_searched_once(tmp_path):
    outside, folder = tmp_path / "outside", tmp_path / "in"
    (folder / "z").mkdir(parents=True)
    (outside / "deep").mkdir(parents=True)
    (outside / "deep" / "c.png").write_bytes(b"")
    (folder / "z" / "a.png").write_bytes(b"")
    (folder / "link").symlink_to(outside)
    (folder / "another").symlink_to(folder / "z")  # its files are found where they lie
    (folder / "z" / "loop").symlink_to(folder)
    (folder / "self").symlink_to(folder / "self")
    (folder / "b.png").symlink_to(folder / "z" / "a.png")
    found = inputs.find([str(folder)], [".png"], True)
    assert relative(found) == ["link/deep/c.png", "z/a.png"]
    assert relative(inputs.find([str(folder / "z")], [".png"], False)) == ["a.png"]


def test_links_that_lead_nowhere_fail(run, folder):
    (folder / "gone.png").symlink_to(folder / "nothing")
    code, out, err = run("encode", "-r", folder, "-o", folder / "coded")
    assert (code, out.splitlines()[-1]) == (1, "4 files: 3 done, 1 failed")
    assert err == f"promptcodec: {folder / 'gone.png'}: No such file or directory\n"


@pytest.mark.parametrize("processes", ["1", "2"])
def test_folders_that_cannot_be_read_fail(run, folder, monkeypatch, processes):
    (folder / "locked").mkdir()
    real = os.scandir

    def scandir(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    command = ("encode", "-r", folder, "-o", folder / "coded", "-j", processes)
    code, out, err = run(*command)
    assert (code, out.splitlines()[-1]) == (1, "4 files: 3 done, 1 failed")
    assert err == f"promptcodec: {folder / 'locked'}: the folder cannot be read: Permission denied\n"
    code, out, _ = run("verify", "-r", folder, "--container")
    assert code == 1
    assert re.search("1 failed", out)


def test_nothing_to_do_is_an_error(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"")
    with pytest.raises(UsageError, match="no pictures"):
        inputs.find([str(tmp_path)], [".png"], True)
