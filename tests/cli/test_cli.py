"""The command line: what it writes, what it says, and its exit codes."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from PIL import Image

import promptcodec
from promptcodec.cli import options


def names(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def error_lines(text):
    return [line for line in text.splitlines() if line]


def test_older_models_that_are_still_shipped(run, folder, older):
    """Whatever the default is by now: a file is decoded and checked with the model that it names."""
    (folder / "old.ptc").write_bytes((older.parent / "plain.ptc").read_bytes())
    run("encode", folder / "a.png")
    assert run("verify", folder / "old.ptc", folder / "a.ptc")[0] == 0
    assert run("decode", folder / "old.ptc", folder / "a.ptc", "--overwrite")[0] == 0
    expected = np.asarray(Image.open(older.parent / "plain.png"), dtype=int)
    assert np.abs(np.asarray(Image.open(folder / "old.png"), dtype=int) - expected).max() <= 1


def test_bfloat16_pixels(run, folder):
    """They differ from those of float32 by less than a level on average, and hardly anywhere by two."""
    run("encode", folder / "a.png", "-q", 0)
    assert run("decode", folder / "a.ptc", "-o", folder / "32.png")[0] == 0
    assert run("decode", folder / "a.ptc", "-o", folder / "16.png", "--precision", "bfloat16")[0] == 0
    first, second = (np.asarray(Image.open(folder / f"{bits}.png"), dtype=int) for bits in (32, 16))
    difference = np.abs(first - second)
    assert 0 < difference.mean() < 0.3
    assert difference.max() <= 2
    assert (difference > 1).mean() < 1e-3
    assert run("encode", folder / "a.png", "-q", 0, "-o", folder / "16.ptc", "--precision", "bfloat16")[0] == 0
    sizes = [(folder / name).stat().st_size for name in ("a.ptc", "16.ptc")]
    assert abs(sizes[1] - sizes[0]) <= 0.02 * sizes[0]
    assert (folder / "16.ptc").read_bytes() != (folder / "a.ptc").read_bytes()
    assert run("decode", folder / "16.ptc", "-o", folder / "x.png")[0] == 0
    assert run("decode", folder / "a.ptc", "-o", folder / "y.png", "--precision", "float8")[0] == 2


def test_photo_to_ptc_to_png(run, folder, photo):
    code, out, err = run("encode", folder / "a.png")
    assert (code, err) == (0, "")
    assert "208x160" in out
    assert (folder / "a.ptc").is_file()
    (folder / "a.png").unlink()
    assert run("decode", folder / "a.ptc")[0] == 0
    decoded = np.asarray(Image.open(folder / "a.png"))
    assert 10 * np.log10(255**2 / np.mean((decoded - photo.astype(float)) ** 2)) > 22


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_named_pipe_is_read_once(run, folder):
    """``encode <(command)`` in a shell: what is read for its checksum cannot be read again."""
    picture, pipe = (folder / "a.png").read_bytes(), folder / "pipe.png"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(picture,), daemon=True)
    writer.start()
    assert run("encode", pipe, "-o", folder / "piped.ptc")[0] == 0
    assert run("encode", folder / "a.png", "-o", folder / "read.ptc")[0] == 0
    assert (folder / "piped.ptc").read_bytes() == (folder / "read.ptc").read_bytes()


def test_quality_and_output(run, folder):
    for quality in (10, 50, 90):
        assert run("encode", folder / "a.png", "-q", quality, "-o", folder / f"{quality}.ptc")[0] == 0
    sizes = [(folder / f"{quality}.ptc").stat().st_size for quality in (10, 50, 90)]
    assert sizes == sorted(sizes)
    assert sizes[2] > 2 * sizes[0]
    assert run("decode", folder / "50.ptc", "-o", folder / "out.webp")[0] == 0
    assert Image.open(folder / "out.webp").format == "WEBP"


def test_targets(run, folder):
    assert run("encode", folder / "a.png", "-q", 50)[0] == 0
    size = (folder / "a.ptc").stat().st_size + 200
    for option, value in (("--target-size", size), ("--target-size", f"{size / 1000}k"),
                          ("--target-bpp", 8 * size / (160 * 208))):  # fmt: skip
        assert run("encode", folder / "a.png", option, value, "--overwrite")[0] == 0
        assert 0.99 * size <= (folder / "a.ptc").stat().st_size <= size
    assert run("encode", folder / "a.png", "--target-psnr", 25, "--overwrite")[0] == 0
    code, _, err = run("encode", folder / "a.png", folder / "b.jpg", "--target-size", 20, "-o", folder / "small")
    assert code == 1
    assert [line.split(": ")[2].partition(" with")[0] for line in error_lines(err)] == ["20 bytes is out of range"] * 2
    for wrong in (["--target-size", "much"], ["--target-size", "4k", "--target-bpp", 1], ["-q", 3, "--target-bpp", 1]):
        assert run("encode", folder / "a.png", "-o", folder / "x.ptc", *wrong)[0] == 2


@pytest.mark.parametrize(
    ("text", "size"), [("40000", 40_000), ("40k", 40_000), ("1.5M", 1.5e6), ("64KiB", 65_536), ("40 kB", 40_000)]
)
def test_sizes_as_people_write_them(text, size):
    assert options.parse_size(text) == size


def test_folders_and_processes(run, folder):
    code, _, err = run("encode", folder, "-r", "-o", folder / "coded", "-j", 2)
    assert (code, err) == (0, "")
    assert names(folder / "coded") == ["a.ptc", "b.ptc", "sub/c.ptc"]
    assert run("decode", folder / "coded", "-r", "-o", folder / "back", "--format", "jpg")[0] == 0
    assert names(folder / "back") == ["a.jpg", "b.jpg", "sub/c.jpg"]


def test_what_exists_is_kept_unless_told(run, folder):
    (folder / "a.ptc").write_bytes(b"mine")
    code, _, err = run("encode", folder / "a.png")
    assert code == 1
    assert "exists" in err
    assert (folder / "a.ptc").read_bytes() == b"mine"
    assert run("encode", folder / "a.png", "--overwrite")[0] == 0
    assert (folder / "a.ptc").read_bytes()[:4] == b"\x8fPTC"
    assert run("encode", folder / "a.png", "--overwrite", "--skip-existing")[0] == 2


def test_skip_existing_looks_at_picture_and_settings(run, folder, photo):
    def states(*options):
        _, out, _ = run("encode", folder / "a.png", "--skip-existing", "--json", *options)
        return json.loads(out)["status"]

    assert states() == "done"
    assert states() == "skipped"
    assert states("-q", "70") == "done"
    assert states("-q", "70") == "skipped"
    Image.fromarray(photo[::-1].copy()).save(folder / "a.png")
    assert states("-q", "70") == "done"
    (folder / "a.ptc").write_bytes((folder / "a.ptc").read_bytes()[:-9])
    assert states("-q", "70") == "done"
    assert run("decode", folder / "a.ptc", "-o", folder / "d.png", "--skip-existing")[0] == 0
    _, out, _ = run("decode", folder / "a.ptc", "-o", folder / "d.png", "--skip-existing")
    assert "up to date" in out


def test_collisions_are_reported_before_anything_runs(run, folder, photo):
    Image.fromarray(photo).save(folder / "a.webp")
    code, _, err = run("encode", folder)
    assert code == 2
    assert "a.png" in err
    assert "a.webp" in err
    assert not list(folder.glob("*.ptc"))


@pytest.mark.parametrize(
    "arguments",
    [["encode"], ["encode", "a.png", "-q", "101"], ["encode", "a.png", "-o", "b.png"], ["nonsense"],
     ["decode", "a.ptc", "-o", "a.xyz"], ["encode", "a.png", "--device", "abacus"], ["encode", "a.png", "-j", "0"]],
)  # fmt: skip
def test_command_lines_that_make_no_sense(run, folder, monkeypatch, arguments):
    monkeypatch.chdir(folder)
    code, _, err = run(*arguments)
    assert code == 2
    assert err
    assert not list(folder.glob("*.ptc"))


def test_one_bad_picture_does_not_stop_the_rest(run, folder):
    (folder / "broken.jpg").write_bytes((folder / "b.jpg").read_bytes()[:500])
    (folder / "text.png").write_text("not a picture")
    code, _, err = run("encode", folder, "-o", folder / "coded")
    assert code == 1
    assert names(folder / "coded") == ["a.ptc", "b.ptc"]
    lines = error_lines(err)
    assert len(lines) == 2
    assert "broken.jpg" in lines[0]
    assert "text.png" in lines[1]


def test_missing_and_unreadable_inputs(run, folder):
    code, _, err = run("encode", folder / "nothing.png")
    assert code == 1
    assert error_lines(err) == [f"promptcodec: {folder / 'nothing.png'}: No such file or directory"]


def test_bad_files(run, folder):
    run("encode", folder / "a.png", "-q", "40")
    good = (folder / "a.ptc").read_bytes()
    future = bytearray(good)
    future[4] = 9
    flipped = bytearray(good)
    flipped[len(good) // 2] ^= 4
    cases = {
        "cut": good[: len(good) // 2], "flipped": bytes(flipped), "empty": b"", "foreign": b"GIF89a" + bytes(50),
        "future": bytes(future),
    }  # fmt: skip
    for name, data in cases.items():
        (folder / f"{name}.ptc").write_bytes(data)
    (folder / "a.png").unlink()
    code, _, err = run("decode", folder)
    assert code == 1
    lines = error_lines(err)
    assert len(lines) == len(cases)
    for name, line in zip(sorted(cases), lines, strict=True):
        assert f"{name}.ptc: " in line
    assert [n for n in names(folder) if n.endswith(".png")] == ["a.png", "sub/c.png"]
    code, _, err = run("info", *(folder / f"{name}.ptc" for name in cases))
    assert code == 1
    assert len(error_lines(err)) == len(cases)


def test_wrong_and_missing_models(run, folder, tic_file):
    code, _, err = run("encode", folder / "a.png", "--model", "no-such-model")
    assert code == 1
    assert "no-such-model" in err
    (folder / "bad.safetensors").write_bytes(b"nonsense")
    code, _, err = run("encode", folder / "a.png", "--model", folder / "bad.safetensors")
    assert code == 1
    assert len(error_lines(err)) == 1
    run("encode", folder / "a.png")
    code, _, err = run("decode", folder / "a.ptc", "-o", folder / "x.png", "--model", tic_file)
    assert code == 1
    assert "made with model" in err
    assert not (folder / "x.png").exists()


def test_info_and_models(run, folder):
    run("encode", folder / "a.png", "-q", "42")
    code, out, _ = run("info", "--json", folder / "a.ptc")
    facts = json.loads(out)
    assert code == 0
    assert (facts["width"], facts["height"], facts["mode"], facts["model"]) == (
        208,
        160,
        "RGB",
        promptcodec.load().name,
    )
    assert facts["quality"] == pytest.approx(42, abs=0.01)
    assert facts["bytes"] == (folder / "a.ptc").stat().st_size
    assert promptcodec.load().fingerprint in run("models")[1]


def test_version(run):
    assert run("--version")[1] == f"promptcodec {promptcodec.__version__}\n"


def command(*arguments, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "promptcodec", *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        **options,
    )  # fmt: skip


def test_pipes(folder):
    encoder = command("encode", "-", "-o", "-", stdin=subprocess.PIPE)
    coded, err = encoder.communicate((folder / "a.png").read_bytes())
    assert (encoder.returncode, err, coded[:4]) == (0, b"", b"\x8fPTC")
    decoder = command("decode", "-", stdin=subprocess.PIPE)
    picture, err = decoder.communicate(coded)
    assert (decoder.returncode, err, picture[:4]) == (0, b"", b"\x89PNG")


@pytest.mark.parametrize("jobs", [1, 2])
def test_interrupting_a_folder(tmp_path, photo, jobs):
    for i in range(60):
        Image.fromarray(photo).save(tmp_path / f"{i:02}.png")
    process = command("encode", tmp_path, "-j", jobs, start_new_session=True)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("*.ptc")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert error_lines(err.decode()) == ["promptcodec: interrupted"]
    left = names(tmp_path)
    assert not [name for name in left if "tmp" in name]
    done = [name for name in left if name.endswith(".ptc")]
    assert 0 < len(done) < 60
    for name in done:
        promptcodec.info(tmp_path / name)


def test_a_model_for_one_rate(run, folder, tic_file):
    assert run("encode", folder / "b.jpg", "--model", tic_file, "--threads", 1)[0] == 0
    code, _, err = run("encode", folder / "b.jpg", "--model", tic_file, "-q", 30, "--overwrite")
    assert (code, len(error_lines(err))) == (2, 1)
    assert run("decode", folder / "b.ptc", "--model", tic_file, "-o", folder / "d.png")[0] == 0


def test_a_file_named_twice_is_coded_once(run, folder, monkeypatch):
    (folder / "link.png").symlink_to(folder / "a.png")
    monkeypatch.chdir(folder)
    code, out, err = run("encode", "a.png", "./a.png", folder / "sub" / ".." / "a.png", "link.png")
    assert (code, err, out.count("a.ptc")) == (0, "", 1)


def test_outputs_that_are_one_file_by_another_name(run, folder):
    (folder / "x").mkdir()
    (folder / "y").symlink_to(folder / "x")
    Image.open(folder / "a.png").save(folder / "x" / "a.png")
    code, _, err = run("encode", folder / "x" / "a.png", folder / "a.png", "-o", folder / "y")
    assert (code, "both be written" in err) == (2, True)


def test_a_batch_that_was_cut_off_goes_on(run, folder):
    """Files of a batch say what they were made from, so that the same command with --skip-existing continues it."""
    assert run("encode", folder, "-r", "-o", folder / "coded")[0] == 0
    (folder / "coded" / "b.ptc").unlink()
    code, out, _ = run("encode", folder, "-r", "-o", folder / "coded", "--skip-existing")
    assert (code, out.count("up to date")) == (0, 2)


def test_skip_existing_replaces_nothing_foreign(run, folder):
    (folder / "a.ptc").write_text("mine")
    code, _, err = run("encode", folder / "a.png", "--skip-existing")
    assert (code, len(error_lines(err))) == (1, 1)
    assert (folder / "a.ptc").read_text() == "mine"


def test_what_is_endless_and_no_ptc_file(run):
    for verb in ("info", "decode"):
        code, _, err = run(verb, "/dev/zero", *(("-o", "-") if verb == "decode" else ()))
        assert (code, "not a .ptc file" in err) == (1, True)


def test_failures_make_no_folders(run, folder):
    (folder / "bad.ptc").write_bytes(b"nonsense")
    assert run("decode", folder / "bad.ptc", "-o", folder / "new" / "x.png")[0] == 1
    assert not (folder / "new").exists()


def test_long_names(run, folder):
    name = "照" * 80
    (folder / "a.png").rename(folder / f"{name}.png")
    assert run("encode", folder / f"{name}.png")[0] == 0


def test_warnings_are_one_line(run, folder, photo):
    rgba = np.dstack([photo, photo[:, :, :1]])
    Image.fromarray(rgba).save(folder / "alpha.png")
    assert run("encode", folder / "alpha.png")[0] == 0
    code, _, err = run("decode", folder / "alpha.ptc", "-o", folder / "alpha.jpg")
    assert (code, len(error_lines(err))) == (0, 1)
    assert "white" in err


def test_senseless_thread_counts(run, folder):
    assert run("encode", folder / "a.png", "--threads", 99_999_999)[0] == 2
    assert run("encode", "")[0] == 2


def test_interrupted_while_starting():
    process = subprocess.Popen([sys.executable, "-m", "promptcodec", "encode", "missing.png"], stderr=subprocess.PIPE)
    time.sleep(0.08)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    # While Python itself starts, on a slow machine, it ends by the signal, or says where it was, which is not with us.
    assert process.returncode in (1, -signal.SIGINT)
    assert process.returncode != 1 or len(error_lines(err.decode())) == 1 or b"promptcodec" not in err


def test_skip_existing_looks_at_the_arithmetic(run, folder):
    assert run("encode", folder / "a.png", "--skip-existing")[0] == 0
    assert "up to date" in run("encode", folder / "a.png", "--skip-existing")[1]
    assert "up to date" not in run("encode", folder / "a.png", "--skip-existing", "--precision", "bfloat16")[1]


def test_what_cannot_be_opened_is_named(run, folder):
    code, _, err = run("bench", folder / "none.jpg")
    assert (code, err) == (1, f"promptcodec: {folder / 'none.jpg'}: No such file or directory\n")
