"""Outputs: what is replaced keeps its permissions, and what is no regular file is written to directly."""

import os
import socket
import stat
import threading
from pathlib import Path

import pytest
from pictures import below_temporary

from promptcodec.system.atomic import atomic_write
from promptcodec.system.special_files import descriptor, is_stream

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs permissions, named pipes and descriptors")
root = pytest.mark.skipif(getattr(os, "geteuid", lambda: 1)() != 0, reason="needs the rights of root")


def replace(path, content=b"new", overwrite=True):
    with atomic_write(path, overwrite) as file:
        file.write(content)


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444, 0o755])
def test_permissions_of_what_is_replaced_stay(tmp_path, mode):
    path = tmp_path / "x"
    path.write_bytes(b"old")
    path.chmod(mode)
    replace(path)
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"new", mode)


def test_while_it_is_written_nobody_else_reads_it(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"old")
    path.chmod(0o600)
    with atomic_write(path, True) as file:
        file.write(b"new")
        (other,) = (entry for entry in tmp_path.iterdir() if entry != path)
        assert stat.S_IMODE(other.stat().st_mode) == 0o600


def test_the_bits_that_lend_rights_do_not_stay(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"old")
    path.chmod(0o6755)
    replace(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o755


def test_new_files_are_as_the_mask_says(tmp_path):
    old = os.umask(0o027)
    try:
        replace(tmp_path / "x", overwrite=False)
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o640


@root
def test_owner_and_group_of_what_is_replaced_stay(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"old")
    os.chown(path, 4711, 4712)
    path.chmod(0o6640)
    replace(path)
    found = path.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (4711, 4712, 0o640)


@root
def test_a_group_that_cannot_stay_passes_no_rights_to_another(tmp_path):
    tmp_path.chmod(0o777)
    path = tmp_path / "x"
    path.write_bytes(b"old")
    os.chown(path, 4711, 4712)
    path.chmod(0o664)
    for folder in below_temporary(tmp_path):
        folder.chmod(0o755)
    os.setegid(65534)
    os.seteuid(4711)
    try:
        replace(path)
    finally:
        os.seteuid(0)
        os.setegid(0)
    assert path.stat().st_gid != 4712
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_links_stay_and_their_files_are_replaced(tmp_path):
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / "x", tmp_path / "link"
    link.symlink_to("there/x")
    replace(link, b"first", overwrite=False)
    replace(link, b"second")
    assert link.is_symlink()
    assert target.read_bytes() == b"second"
    with pytest.raises(FileExistsError):
        replace(link, overwrite=False)
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="symbolic links"):
        replace(tmp_path / "loop")
    assert (tmp_path / "loop").is_symlink()


def test_other_hard_links_keep_the_old_content(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_bytes(b"old")
    os.link(first, second)
    replace(first)
    assert (first.read_bytes(), second.read_bytes()) == (b"new", b"old")


@root
@pytest.mark.parametrize("exists", [False, True])
def test_folders_that_cannot_be_written_to(tmp_path, exists):
    """A sentence about the output, not about the name of a temporary file."""
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o755)
    path = folder / "x"
    if exists:
        path.write_bytes(b"old")
        path.chmod(0o666)
    for parent in below_temporary(tmp_path):
        parent.chmod(0o755)
    tmp_path.chmod(0o755)
    os.seteuid(4711)
    try:
        with pytest.raises(PermissionError, match="no file can be made in the folder") as caught:
            replace(path)
    finally:
        os.seteuid(0)
    assert caught.value.filename == str(path)
    assert not exists or path.read_bytes() == b"old"


def test_folders_are_not_replaced(tmp_path):
    with pytest.raises(IsADirectoryError):
        replace(tmp_path)


@pytest.mark.parametrize("overwrite", [False, True])
def test_named_pipes_get_all_at_once(tmp_path, overwrite):
    pipe, got = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()), daemon=True)
    reader.start()
    with atomic_write(pipe, overwrite) as file:
        file.write(b"..d")
        file.seek(0)  # as Pillow's writers do
        file.write(b"en")
    reader.join(20)
    assert got == [b"end"]
    assert pipe.is_fifo()


def test_a_pipe_gets_nothing_of_what_fails(tmp_path):
    pipe, got = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()), daemon=True)
    reader.start()
    with pytest.raises(ZeroDivisionError), atomic_write(pipe) as file:
        file.write(b"half of")
        raise ZeroDivisionError
    reader.join(20)
    assert got == [b""]


def test_descriptors_of_pipes_files_and_sockets(tmp_path):
    first, second = os.pipe()
    replace(Path(f"/dev/fd/{second}"), b"piped", overwrite=False)
    assert os.read(first, 10) == b"piped"
    os.close(first)
    os.close(second)
    with (tmp_path / "x").open("wb") as file:
        file.write(b"before ")
        file.flush()
        replace(Path(f"/dev/fd/{file.fileno()}"), b"between ", overwrite=False)
        file.write(b"after")
    assert (tmp_path / "x").read_bytes() == b"before between after"
    ours, theirs = socket.socketpair()
    with ours, theirs:
        replace(Path(f"/dev/fd/{ours.fileno()}"), b"sent", overwrite=False)
        assert theirs.recv(10) == b"sent"


def test_a_socket_with_a_name_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # names of sockets are short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s")
        with pytest.raises(OSError, match="socket cannot be written to by its name"):
            replace(tmp_path / "s")


def test_which_paths_are_descriptors(tmp_path):
    assert [descriptor(f"/dev/{name}") for name in ("stdin", "stdout", "stderr", "fd/63", "null")] == [
        0,
        1,
        2,
        63,
        None,
    ]
    assert descriptor("/proc/self/fd/7") == descriptor(f"/proc/{os.getpid()}/fd/7") == 7
    assert descriptor("/proc/1/fd/7") is None
    (tmp_path / "link").symlink_to("/dev/stdout")
    (tmp_path / "chain").symlink_to("link")
    assert descriptor(tmp_path / "chain") == 1
    assert is_stream("/dev/null")
    assert not is_stream(tmp_path)
    assert not is_stream(tmp_path / "none")
