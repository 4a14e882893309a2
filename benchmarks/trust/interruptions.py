"""Batches that are killed or run out of disk; docs/trust.md.

    python -m benchmarks.trust.interruptions kill [--runs 200]  # kill -9 at random moments, and within writes
    python -m benchmarks.trust.interruptions full               # a disk of 12 kB to 72 kB (Linux, as root: a tmpfs)

After every kill all that stands under a final name must be whole: .ptc files are verified, pictures are loaded. A run
goes on where the one before was cut off; when all is done, the folder is emptied. Writes
benchmarks/results/interruptions.json.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import promptcodec
from promptcodec.cli import app
from promptcodec.errors import PromptcodecError
from promptcodec.model.base import CompressionModel
from promptcodec.model.config import Model, Resample, Transform
from promptcodec.store.model_file import save_model

RESULTS = Path(__file__).resolve().parents[1] / "results" / "interruptions.json"
PICTURES = 24


def tiny_model(path: Path) -> None:
    """A model of a few thousand parameters: what counts here is the writing."""
    down = tuple(Resample("down", channels) for channels in (4, 4, 4, 8))
    up = (*(Resample("up", 4) for _ in range(3)), Resample("up", 3))
    config = Model(
        name="tiny", analysis=Transform(3, down), synthesis=Transform(8, up),
        hyper_analysis=Transform(8, (Resample("down", 4), Resample("down", 4))),
        hyper_synthesis=Transform(4, (Resample("up", 4), Resample("up", 16))),
    )  # fmt: skip
    torch.manual_seed(0)
    save_model(CompressionModel(config), path, "untrained")


def make_pictures(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for i in range(PICTURES):
        pixels = rng.integers(0, 256, (100 + 10 * i, 300, 3), dtype=np.uint8)
        (folder / f"set{i % 3}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"set{i % 3}" / f"{i}.png")


def call(*arguments: object) -> tuple[int, str, str]:
    """The command line in this process: exit code, standard output and error."""
    sys.argv = ["promptcodec", *map(str, arguments)]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            app.main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
    return code, out.getvalue(), err.getvalue()


def forked(work: Callable[[], int]) -> int:
    """Process id of a copy of this process that does ``work`` and no more."""
    child = os.fork()
    if child:
        return child
    try:
        os._exit(work())
    finally:
        os._exit(3)


def die_while_writing(step: int) -> None:
    """In this process, from now on: SIGKILL at the ``step``-th system call by which outputs come to be."""
    left = [step]

    def counted(function: Callable[..., object]) -> Callable[..., object]:
        def instead(*arguments: object, **options: object) -> object:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **options)

        return instead

    for owner, name in ((os, "fsync"), (os, "link"), (Path, "open"), (Path, "unlink"), (Path, "replace")):
        setattr(owner, name, counted(getattr(owner, name)))


def _run(command: Sequence[object]) -> int:
    return call(*command)[0]


def _run_and_die(step: int, command: Sequence[object]) -> int:
    die_while_writing(step)
    return _run(command)


def partial_files(folder: Path, codec: promptcodec.Codec) -> list[str]:
    """What stands under a final name and is not whole."""
    problems = []
    for path in final_names(folder):
        try:
            if path.suffix == ".ptc":
                codec.verify(path.read_bytes())
            else:
                with Image.open(path) as image:
                    image.load()
        except (PromptcodecError, OSError) as error:
            problems.append(f"{path.name}: {error}")
    return problems


def final_names(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix != ".tmp")


def killed(runs: int) -> dict[str, object]:
    """``runs`` batches killed, encoding and decoding in turn, half by the clock and half at a system call."""
    chance = random.Random(0)
    counts = {"killed": 0, "finished": 0, "partial_files": 0, "files_checked": 0, "leftovers": 0}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model, pictures = folder / "tiny.safetensors", folder / "in"
        coded, decoded = folder / "out" / "coded", folder / "out" / "decoded"
        tiny_model(model)
        make_pictures(pictures)
        codec = promptcodec.load(model)
        encode = ("encode", "-r", pictures, "-o", coded, "--model", model, "--skip-existing", "--threads", 1)
        decode = ("decode", "-r", coded, "-o", decoded, "--model", model, "--skip-existing", "--threads", 1)
        begin = time.monotonic()
        call(*encode)
        lasting = time.monotonic() - begin
        shutil.rmtree(coded)
        number = 0
        while counts["killed"] < runs:
            number += 1
            command, out = (encode, coded) if number % 4 < 2 or not coded.exists() else (decode, decoded)
            if number % 2:
                step = chance.randrange(1, 4 * PICTURES)
                child = forked(partial(_run_and_die, step, command))
            else:
                child = forked(partial(_run, command))
                time.sleep(chance.uniform(0, lasting))
                os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            counts["killed" if os.WIFSIGNALED(status) else "finished"] += 1
            bad = partial_files(folder / "out", codec)
            for line in bad:
                print(line, file=sys.stderr)
            counts["partial_files"] += len(bad)
            counts["files_checked"] += sum(1 for _ in final_names(folder / "out"))
            if not os.WIFSIGNALED(status) or sum(1 for _ in final_names(out)) == PICTURES:
                counts["leftovers"] += sum(1 for _ in out.rglob("*.tmp"))
                shutil.rmtree(out, ignore_errors=True)
        code, output, _ = call(*encode)  # and what is left can be finished
    return {**counts, "resumed": code == 0, "summary": output.splitlines()[-1]}


def full() -> dict[str, int]:
    """Every way to write a file, on disks of many sizes: exit code 1, one line, nothing half-done."""
    counts = {"runs": 0, "disk_full": 0, "one_line": 0, "partial_files": 0, "leftovers": 0}
    with tempfile.TemporaryDirectory() as name:
        folder, disk = Path(name), Path(name) / "disk"
        model, pictures, coded = folder / "tiny.safetensors", folder / "in", folder / "coded"
        tiny_model(model)
        make_pictures(pictures)
        codec = promptcodec.load(model)
        call("encode", "-r", pictures, "-o", coded, "--model", model)
        out = disk / "out"
        commands: dict[str, tuple[str | Path, ...]] = {
            "encode": ("encode", "-r", pictures, "-o", out, "--model", model)
        }
        commands |= {
            f"decode {kind}": ("decode", "-r", coded, "-o", out, "--model", model, "--format", kind)
            for kind in ("png", "jpg", "webp", "tiff")
        }
        disk.mkdir()
        for kilobytes in (12, 24, 40, 56, 72):
            for what, command in commands.items():
                subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", disk], check=True)
                try:
                    code, _, err = call(*command)
                    lines = err.splitlines()
                    counts["runs"] += 1
                    counts["disk_full"] += code == 1
                    counts["one_line"] += code == 1 and len(lines) == 1 and lines[0].endswith("No space left on device")
                    counts["partial_files"] += len(bad := partial_files(out, codec))
                    counts["leftovers"] += sum(1 for _ in out.rglob("*.tmp"))
                    if code != 1 or len(lines) != 1 or bad:
                        print(what, kilobytes, code, lines[:3], bad, file=sys.stderr)
                finally:
                    subprocess.run(["umount", disk], check=True)
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["kill", "full"])
    parser.add_argument("--runs", type=int, default=200)
    options = parser.parse_args()
    torch.set_num_threads(1)
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results[options.what] = killed(options.runs) if options.what == "kill" else full()
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps(results[options.what]))


if __name__ == "__main__":
    main()
