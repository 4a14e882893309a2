"""Names that are not UTF-8 or steer terminals, and standard streams in whatever state."""

import ast
import base64
import json
import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

import promptcodec
from promptcodec.cli import progress, streams

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs file names of any bytes, and descriptors")

NAME = os.fsdecode(b"caf\xe9 \x1b[31m\n\xe2\x80\xaex")
SHOWN = r"caf\xe9 \x1b[31m\n\u202ex"
# en_US.UTF-8 is not installed everywhere; what matters of it is that standard output refuses what is not UTF-8.
LOCALES = {
    "utf-8": {"LANG": "en_US.UTF-8", "PYTHONIOENCODING": "utf-8:strict"},
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "C": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
}


@pytest.fixture(scope="module")
def coded(codec, photo):
    """A small .ptc file."""
    return codec.encode(photo[:64, :64], 30)


@pytest.fixture
def strange(tmp_path, coded):
    """A folder with a file of a strange name beside one of a plain name."""
    for name in (NAME, "plain"):
        (tmp_path / f"{name}.ptc").write_bytes(coded)
    return tmp_path


def shell(command, **options):
    """Run a line of Bash in which PTC stands for the command: (exit code, standard output, standard error), bytes."""
    line = command.replace("PTC", f"{sys.executable} -m promptcodec")
    done = subprocess.run(["bash", "-c", line], capture_output=True, check=False, **options)
    return done.returncode, done.stdout, done.stderr


def harmless(output):
    """Whether a terminal shows these bytes as text, line by line."""
    return not any(byte < 32 and byte != 10 for byte in output) and "\u202e" not in output.decode()


@pytest.mark.parametrize("locale", LOCALES)
def test_any_name_under_any_locale(strange, locale):
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("LC_", "LANG", "PYTHONIO"))}
    environment |= LOCALES[locale]
    code, out, err = shell("PTC info *.ptc && PTC verify --container *.ptc", cwd=strange, env=environment)
    assert (code, err) == (0, b"")
    lines = out.decode().splitlines()
    shown = SHOWN if locale != "C" else r"caf\xe9 \x1b[31m\n\xe2\x80\xaex"
    assert {f"{shown}.ptc", "plain.ptc"} <= set(lines)
    assert f"{shown}.ptc: the container is sound" in lines
    assert harmless(out)
    code, out, err = shell("PTC info --json *.ptc missing$'\\xff\\e[2J'", cwd=strange, env=environment)
    assert (code, err) == (1, b"promptcodec: missing\\xff\\x1b[2J: No such file or directory\n")
    facts = [json.loads(line) for line in out.decode("ascii").splitlines()]
    named = next(fact for fact in facts if "file_base64" in fact)
    named["file"].encode()  # no lone surrogates
    assert base64.b64decode(named["file_base64"]) == os.fsencode(f"{NAME}.ptc")
    assert [fact["file"] for fact in facts if "file_base64" not in fact] == ["plain.ptc"]


def test_a_batch_with_a_strange_name_codes_all_of_it(tmp_path, photo):
    """With workers, with a warning and with a failure about it."""
    for name in ("a", NAME, "z"):
        Image.fromarray(photo[:64, :64]).save(tmp_path / f"{name}.png")
    Image.fromarray(photo[:64, :64]).save(
        tmp_path / f"{NAME}2.gif", save_all=True, append_images=[Image.new("L", (64, 64))]
    )
    (tmp_path / f"{NAME}3.png").write_bytes(b"no picture")
    code, out, err = shell("PTC encode . -j 2", cwd=tmp_path, env=os.environ | LOCALES["utf-8"])
    assert code == 1
    assert len(list(tmp_path.glob("*.ptc"))) == 4
    assert harmless(out)
    assert harmless(err)
    assert b"5 files: 4 done, 1 failed" in out
    said = err.decode().splitlines()
    assert len(said) == 2
    assert all(line.startswith(f"promptcodec: {SHOWN}") for line in said)


def test_models_and_adapters_of_any_name(run, tmp_path, photo):
    weights = Path(promptcodec.__file__).parent / "store" / "weights"
    model, adapter = tmp_path / f"{NAME}m.safetensors", tmp_path / f"{NAME}a.safetensors"
    model.write_bytes((weights / "nano.safetensors").read_bytes())
    adapter.write_bytes(next((weights / "adapters").glob("*region*.safetensors")).read_bytes())
    picture = tmp_path / f"{NAME}.png"
    Image.fromarray(photo[:64, :64]).save(picture)
    code, _, err = run("encode", picture, "--model", model, "--adapter", adapter, "--roi", picture)
    assert (code, err) == (0, "")
    assert run("verify", picture.with_suffix(".ptc"), "--model", model, "--adapter", adapter)[0] == 0
    assert run("profile", model)[0] == 0


def test_results_and_tables_with_any_name(run, tmp_path, photo):
    """Markup of rich in a name is no markup, and what is stored is valid Unicode."""
    picture = tmp_path / f"[red]{NAME}.png"
    Image.fromarray(photo).save(picture)
    code, out, err = run("compare", picture, "--codec", "jpeg", "-o", tmp_path / f"{NAME}.png")
    assert (code, err) == (0, "")
    assert f"[red]{SHOWN}.png, 208x160" in out
    code, out, err = run("eval", picture, "--codec", "jpeg", "-q", "50", "-o", tmp_path / f"{NAME}.jsonl")
    assert (code, err) == (0, "")
    row = json.loads((tmp_path / f"{NAME}.jsonl").read_text())
    row["picture"].encode()


def test_what_is_no_option_or_verb_is_quoted_harmlessly(run):
    for arguments in (
        ("info", "--x\x1b[31m\udcff"),
        ("v\x1b[31m\udcff",),
        ("\u202e", "x"),
        ("encode", "-q", "\x1b[2J", "x"),
    ):
        code, out, err = run(*arguments)
        assert code == 2
        assert harmless((out + err).encode())


def test_names_in_files_are_quoted_harmlessly(run, coded, tmp_path):
    from promptcodec.bitstream.container import pack, unpack
    from promptcodec.bitstream.contents import AdapterRecord

    file = unpack(coded)
    object.__setattr__(file, "adapters", (AdapterRecord("evil\x1b[2J\u202e\nname", b"12345678"),))
    (tmp_path / "evil.ptc").write_bytes(pack(file))
    for verb in ("info", "decode", "verify"):
        _, out, err = run(verb, tmp_path / "evil.ptc")
        assert "evil" in (out + err).replace(str(tmp_path), "")
        assert harmless((out + err).encode())


def test_all_that_is_printed_goes_through_one_module():
    """So nothing reaches a terminal as it stands in a file; the linter bans print and typer.echo as well."""
    for path in Path(promptcodec.__file__).parent.rglob("*.py"):
        calls = [ast.unparse(node.func) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        if path.name not in ("streams.py", "__main__.py"):
            assert not {"print", "typer.echo", "typer.secho", "sys.stdout.write", "sys.stderr.write"} & set(calls), path


def test_faults_of_ours_are_shown_harmlessly(monkeypatch, capsys):
    try:
        raise RuntimeError("quotes \x1b[2J of a file")
    except RuntimeError as error:
        streams._show_exception(RuntimeError, error, error.__traceback__)
    assert harmless(capsys.readouterr().err.encode())


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_stop_no_work(tmp_path, photo, closed):
    Image.fromarray(photo[:64, :64]).save(tmp_path / "a.png")
    code, _, err = shell(f"PTC encode a.png {closed} && PTC decode a.ptc -o b.png {closed}", cwd=tmp_path)
    assert (code, err) == (0, b"")
    assert Image.open(tmp_path / "b.png").size == (64, 64)
    code, out, err = shell(f"PTC encode missing.png {closed}", cwd=tmp_path)
    assert (code, out) == (1, b"")
    assert b"please report" not in err


def test_closed_streams_with_workers(tmp_path, photo):
    for name in "ab":
        Image.fromarray(photo[:64, :64]).save(tmp_path / f"{name}.png")
    code, _, _ = shell("PTC encode . -j 2 <&- >&- 2>&-", cwd=tmp_path)
    assert code == 0
    for name in "ab":
        promptcodec.info(tmp_path / f"{name}.ptc")


@pytest.mark.parametrize(
    ("command", "stream"),
    [("encode - <&-", "input"), ("decode - <&-", "input"), ("info - <&-", "input"), ("verify - <&-", "input"),
     ("encode a.png -o - >&-", "output"), ("decode a.ptc -o - >&-", "output")],
)  # fmt: skip
def test_what_needs_a_closed_stream_says_so(strange, photo, command, stream):
    (strange / "a.ptc").write_bytes((strange / "plain.ptc").read_bytes())
    Image.fromarray(photo[:64, :64]).save(strange / "a.png")
    code, _, err = shell(f"PTC {command}", cwd=strange)
    assert code in (1, 2)
    assert f"standard {stream} is closed" in err.decode()
    assert len(err.splitlines()) == 1


def test_readers_that_leave_early(strange):
    """Quietly, with exit code 1."""
    code, out, err = shell("PTC info *.ptc *.ptc *.ptc | true; echo ${PIPESTATUS[0]}", cwd=strange)
    assert (code, out, err) == (0, b"1\n", b"")
    code, out, err = shell("PTC decode plain.ptc -o - | head -c 0; echo ${PIPESTATUS[0]}", cwd=strange)
    assert (out, err) == (b"1\n", b"")


def test_no_worker_outlives_a_batch_whose_reader_leaves(tmp_path, photo):
    for index in range(8):
        Image.fromarray(photo[:64, :64]).save(tmp_path / f"{index}.png")
    command = [sys.executable, "-m", "promptcodec", "encode", ".", "-j", "2"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    process.stdout.close()
    assert (process.wait(), process.stderr.read()) == (1, b"")
    assert len(list(tmp_path.glob("*.ptc"))) < 8
    with pytest.raises(ProcessLookupError):
        for _ in range(100):  # of 0.1 s, in which the last ones may still be ending
            os.killpg(process.pid, 0)
            time.sleep(0.1)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_reports_that_cannot_be_written_stop_no_work(tmp_path, photo):
    for name in "ab":
        Image.fromarray(photo[:64, :64]).save(tmp_path / f"{name}.png")
    code, _, err = shell("PTC encode . > /dev/full", cwd=tmp_path)
    assert (code, err) == (1, b"promptcodec: standard output: No space left on device\n")
    assert sorted(path.name for path in tmp_path.glob("*.ptc")) == ["a.ptc", "b.ptc"]
    assert shell("PTC decode . -o out 2> /dev/full", cwd=tmp_path)[0] == 0


def on_terminal(command, cwd):
    """Run a command whose standard output is a terminal: (exit code, what it showed, standard error)."""
    master, slave = pty.openpty()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "promptcodec", *command], stdout=slave, stderr=subprocess.PIPE, cwd=cwd
        )
        os.close(slave)
        shown = b""
        while True:
            if select.select([master], [], [], 0.2)[0]:
                try:
                    part = os.read(master, 65536)
                except OSError:  # Linux: nobody has the other end open any more
                    part = b""
                if not part:
                    break
                shown += part
            elif process.poll() is not None:
                break
        return process.wait(60), shown, process.stderr.read()
    finally:
        os.close(master)


@pytest.mark.parametrize("output", ["-", "/dev/stdout", "/dev/fd/1"])
def test_binary_output_is_kept_from_terminals(strange, output):
    code, shown, err = on_terminal(["decode", "plain.ptc", "-o", output], strange)
    assert (code, shown) == (2, b"")
    assert b"terminal" in err
    assert b"--force" in err


def test_binary_output_can_be_forced_onto_a_terminal(strange):
    code, shown, _ = on_terminal(["decode", "plain.ptc", "-o", "-", "--force"], strange)
    assert code == 0
    assert b"PNG" in shown[:8]


def test_encoding_to_a_terminal_is_refused_before_the_work(strange, photo):
    Image.fromarray(photo[:64, :64]).save(strange / "a.png")
    code, shown, err = on_terminal(["encode", "a.png", "-o", "-"], strange)
    assert (code, shown) == (2, b"")
    assert b"terminal" in err


def test_a_progress_bar_that_fails_stops_nothing(monkeypatch):
    """It only informs; in tests alone its faults are errors."""
    monkeypatch.setattr(progress.ProgressBar, "_update", lambda self: 1 / 0)
    with progress.ProgressBar(2) as bar:
        with pytest.warns(promptcodec.errors.ReportingWarning, match="progress bar"):
            bar.advance()
        with pytest.raises(promptcodec.errors.ReportingWarning):
            bar.part(1, 2)
