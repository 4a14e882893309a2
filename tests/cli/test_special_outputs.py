"""Outputs that are pipes, devices, descriptors and links, and what ``--overwrite`` keeps of the old file."""

import json
import os
import socket
import stat
import subprocess
import sys
import threading

import pytest
from pictures import below_temporary
from PIL import Image

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs named pipes and permissions")


@pytest.fixture
def work(tmp_path, codec, photo, monkeypatch):
    """The working folder, with a.png and plain.ptc."""
    Image.fromarray(photo[:64, :64]).save(tmp_path / "a.png")
    (tmp_path / "plain.ptc").write_bytes(codec.encode(tmp_path / "a.png"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read_of(pipe):
    """Read a named pipe meanwhile: what waits for its bytes."""
    got = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()), daemon=True)
    reader.start()

    def wait():
        reader.join(60)
        return got[0]

    return wait


def test_named_pipes(run, work):
    os.mkfifo(work / "pipe")
    wait = read_of(work / "pipe")
    code, _, err = run("encode", "a.png", "-o", "pipe")
    assert (code, err, wait()) == (0, "", (work / "plain.ptc").read_bytes())
    expected = (
        ("pipe", (), b"\x89PNG"), ("pipe", ("--format", "tiff"), b"II*\0"), ("p.jpg", (), b"\xff\xd8"),
    )  # fmt: skip
    for name, format, magic in expected:
        if not (work / name).exists():
            os.mkfifo(work / name)
        wait = read_of(work / name)
        code, out, err = run("decode", "plain.ptc", "-o", name, *format, "--json")
        assert (code, err) == (0, "")
        got = wait()
        assert got.startswith(magic)
        assert json.loads(out)["picture_bytes"] == len(got)
        assert stat.S_ISFIFO((work / name).stat().st_mode)


def test_process_substitution_and_descriptors(work):
    script = f"""
set -e
PTC="{sys.executable} -m promptcodec"
$PTC decode plain.ptc -o >(cat > part; mv part substituted.png)
$PTC decode <(cat plain.ptc) > stdout.png
$PTC decode /dev/stdin -o /dev/fd/3 3> descriptor.png < plain.ptc
{{ printf before; $PTC decode plain.ptc -o /dev/stdout; printf after; }} > between
while [ ! -e substituted.png ]; do sleep 0.1; done
"""
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    expected = (work / "substituted.png").read_bytes()
    assert expected.startswith(b"\x89PNG")
    for name in ("stdout", "descriptor"):
        assert (work / f"{name}.png").read_bytes() == expected
    assert (work / "between").read_bytes() == b"before" + expected + b"after"


@pytest.mark.parametrize("output", ["/dev/null", "-", "/dev/stdout", "pipe"])
def test_several_pictures_do_not_go_into_one_pipe(run, work, output):
    os.mkfifo(work / "pipe")
    (work / "b.png").write_bytes((work / "a.png").read_bytes())
    code, _, err = run("encode", "a.png", "b.png", "-o", output)
    assert code == 2
    assert "give -o a folder" in err


@pytest.mark.parametrize(("verb", "source", "output"), [("encode", "a.png", "x.ptc"), ("decode", "plain.ptc", "x.png")])
def test_overwriting_keeps_permissions_and_links(run, work, verb, source, output):
    (work / "there").mkdir()
    target = work / "there" / output
    target.write_bytes(b"old")
    target.chmod(0o600)
    (work / output).symlink_to(target)
    code, _, err = run(verb, source, "-o", output)
    assert code == 1
    assert "--overwrite" in err
    assert target.read_bytes() == b"old"
    assert run(verb, source, "-o", output, "--overwrite")[0] == 0
    assert (work / output).is_symlink()
    assert target.read_bytes() != b"old"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


def test_a_hard_link_of_the_picture_as_output_costs_no_picture(run, work):
    before = (work / "a.png").read_bytes()
    os.link(work / "a.png", work / "x.ptc")
    assert run("encode", "a.png", "-o", "x.ptc", "--overwrite")[0] == 0
    assert (work / "a.png").read_bytes() == before
    assert (work / "x.ptc").read_bytes() == (work / "plain.ptc").read_bytes()


def test_a_socket_by_its_name(run, work):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s.png")
        code, _, err = run("decode", "plain.ptc", "-o", "s.png")
    assert code == 1
    assert "pipe to a program that connects to it" in err


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")  # noqa: PTH110
@pytest.mark.parametrize("arguments", [("encode", "a.png"), ("decode", "plain.ptc")])
def test_standard_output_that_is_full(work, arguments):
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        done = subprocess.run(
            [sys.executable, "-m", "promptcodec", *arguments, "-o", "-"],
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.decode() == f"promptcodec: {arguments[1]}: No space left on device\n"


def test_a_folder_that_takes_no_files(run, work):
    """As an ordinary user: nothing stops root."""
    if os.geteuid() != 0:
        pytest.skip("needs the rights of root, to give them up")
    (work / "closed").mkdir(mode=0o555)
    for folder in (work, *below_temporary(work)):
        folder.chmod(0o755)
    os.seteuid(65534)
    try:
        code, _, err = run("encode", "a.png", "-o", "closed/x.ptc")
    finally:
        os.seteuid(0)
    assert code == 1
    assert err == f"promptcodec: a.png: no file can be made in the folder (Permission denied): {work}/closed/x.ptc\n"
