"""A whole short slice on a preemptible machine: put arriving data in place, train the queue, leave copies that travel.

    python training/slice.py start --inbox IN --work WORK --outbox OUT --minutes 25
    python training/slice.py status --work WORK

``start`` returns at once; what it starts outlives the shell that it was started from. Data arrives in IN as tar files,
or as folders of parts of at most 16 MiB with an index (``train/run/shards.py`` reads them). Training begins with the
first that is complete, and takes up the others as they come. OUT holds, for each run, the copy that continues it
elsewhere: put it there again before the next slice. Needs nothing but this folder and the installed package, and no
network.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

from ledger import take_over
from queue_file import OPEN, mark, read_queue

from promptcodec.errors import PromptcodecError
from promptcodec.train.data.sources import Unit
from promptcodec.train.run.shards import complete, read_shards

ROOT = Path(__file__).resolve().parents[1]
POLL = 0.5  # seconds between looks at the inbox
COPY_EVERY = 60.0  # seconds between copies of logs, models, queue and ledger
LEDGER = "LEDGER.md"
KEPT = {
    ".adapter.safetensors": "adapter.safetensors",
    ".safetensors": "model.safetensors",
    ".log.jsonl": "log.jsonl",
    ".validation.jsonl": "validation.jsonl",
}  # what a run's name is followed by in the outbox, and the file of its folder; longer endings first


def put_in_place(inbox: Path, data: Path) -> list[str]:
    """Bring complete shards of ``inbox`` into ``data``, whole or not at all; returns their names."""
    brought = []
    for path in sorted(inbox.iterdir()):
        target = data / (path.name if path.suffix == ".tar" else f"{path.name}.tar")
        if target.exists():
            continue
        temporary = data / f".{target.name}"
        if path.is_dir() and complete(path):
            try:
                temporary.write_bytes(read_shards(path))
            except PromptcodecError as error:  # parts of two versions: the rest may still come
                print(error, flush=True)
                continue
        elif path.suffix == ".tar" and _whole(path):
            shutil.copyfile(path, temporary)
        else:
            continue
        temporary.replace(target)
        brought.append(target.name)
    return brought


def _whole(path: Path) -> bool:
    try:
        return bool(Unit(path.name, path).entries())
    except PromptcodecError:
        return False


def run(arguments: argparse.Namespace) -> int:
    """The slice itself: returns training's exit code."""
    end = time.monotonic() + 60 * arguments.minutes
    inbox, work, outbox = arguments.inbox, arguments.work, arguments.outbox
    data, runs = work / "data", work / "runs"
    for folder in (inbox, data, runs, outbox):
        folder.mkdir(parents=True, exist_ok=True)
    while not any(data.glob("*.tar")):
        print("brought", *put_in_place(inbox, data), flush=True)
        if time.monotonic() > end:
            print("no data came", flush=True)
            return 1
        time.sleep(POLL)
    bring_back(runs, outbox)
    catch_up(arguments.queue, outbox)
    training = subprocess.Popen(command(arguments, data, runs, end - time.monotonic()))
    (work / "training.pid").write_text(str(training.pid))
    copied = time.monotonic()
    while training.poll() is None:
        if time.monotonic() - copied > COPY_EVERY:  # the machine may go at any time
            take_home(runs, outbox, arguments.queue)
            copied = time.monotonic()
        for name in put_in_place(inbox, data):
            print("brought", name, flush=True)
        time.sleep(POLL)
    take_home(runs, outbox, arguments.queue)
    print(f"training ended with {training.returncode}", flush=True)
    return training.returncode


def bring_back(runs: Path, outbox: Path) -> None:
    """Copy what earlier slices left into ``runs``, where it lacks it: what later runs start from, and logs to go on."""
    for source in (path for path in outbox.glob("*.*") if path.is_file()):
        for ending, file in KEPT.items():  # a run's name may have dots of its own
            name = source.name.removesuffix(ending)
            if name != source.name:
                if not (runs / name / file).is_file():
                    (runs / name).mkdir(parents=True, exist_ok=True)
                    _copy(source, runs / name / file)
                break


def catch_up(queue: Path, outbox: Path) -> None:
    """Take over what earlier slices did, from the queue and ledger that they left: this copy may be older."""
    if (outbox / queue.name).is_file():
        unfinished = {run.name for run in read_queue(queue) if run.status == OPEN}
        for run in read_queue(outbox / queue.name):
            if run.status != OPEN and run.name in unfinished:
                mark(queue, run.name, run.status)
    if (outbox / LEDGER).is_file():
        take_over(queue.parent / LEDGER, outbox / LEDGER)


def take_home(runs: Path, outbox: Path, queue: Path) -> None:
    """Copy logs, model files, queue and ledger into ``outbox``; the portable copies are there already."""
    for folder in (path for path in runs.iterdir() if path.is_dir()):
        for ending, file in KEPT.items():
            _copy(folder / file, outbox / f"{folder.name}{ending}")
    _copy(queue, outbox / queue.name)
    _copy(queue.parent / LEDGER, outbox / LEDGER)


def _copy(source: Path, target: Path) -> None:
    """Copy whole or not at all, if there is something new."""
    if source.is_file() and not (target.is_file() and target.stat().st_mtime_ns == source.stat().st_mtime_ns):
        temporary = target.with_name(f".{target.name}")
        shutil.copy2(source, temporary)
        temporary.replace(target)


def command(arguments: argparse.Namespace, data: Path, runs: Path, seconds: float) -> list[str]:
    """Training as a command: one process, or torchrun's several."""
    start = [sys.executable]
    if arguments.processes > 1:
        start += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={arguments.processes}"]
    start += [str(ROOT / "training" / "run_queue.py")]
    options = ["--queue", str(arguments.queue), "-o", str(runs), "--data", str(data)]
    options += ["--portable", str(arguments.outbox), "--max-seconds", f"{seconds:.0f}"]
    if arguments.validation:
        options += ["--with", f"validation={json.dumps([str(path.resolve()) for path in arguments.validation])}"]
    return start + options + (["--device", arguments.device] if arguments.device else [])


def start(arguments: argparse.Namespace) -> int:
    """Start the slice in a session of its own."""
    arguments.work.mkdir(parents=True, exist_ok=True)
    with (arguments.work / "slice.log").open("ab") as log:
        again = [sys.executable, str(Path(__file__).resolve()), "run", *sys.argv[2:]]
        process = subprocess.Popen(again, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    print(f"started; {arguments.work / 'slice.log'} tells how it goes (process {process.pid})")
    return 0


def status(arguments: argparse.Namespace) -> int:
    """The last row of every run's log, and the end of the slice's own."""
    for log in sorted((arguments.work / "runs").glob("*/log.jsonl")):
        rows = log.read_text().splitlines()
        print(log.parent.name, json.loads(rows[-1]) if rows else "no step yet")
    print(*(arguments.work / "slice.log").read_text().splitlines()[-5:], sep="\n")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=("start", "run", "status"))
    parser.add_argument("--inbox", type=Path, default=Path("inbox"), help="where data arrives")
    parser.add_argument("--work", type=Path, default=Path("slice"), help="data, runs and the log")
    parser.add_argument("--outbox", type=Path, default=Path("outbox"), help="what to take home")
    parser.add_argument("--minutes", type=float, default=25, help="all of the slice, the wait for data included")
    parser.add_argument("--queue", type=Path, default=ROOT / "training" / "queue.toml")
    parser.add_argument("--validation", type=Path, action="append", help="folder or tar file of a validation set")
    parser.add_argument("--device", default="", help="cpu, cuda or mps; the recipes' own if not given")
    parser.add_argument("--processes", type=int, default=1, help="processes, one a GPU")
    arguments = parser.parse_args()
    return {"start": start, "run": run, "status": status}[arguments.verb](arguments)


if __name__ == "__main__":
    sys.exit(main())
