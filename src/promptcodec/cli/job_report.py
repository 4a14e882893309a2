"""What a batch says when it ends."""

from __future__ import annotations

from dataclasses import asdict

from promptcodec.batch.job import Summary
from promptcodec.batch.manifest import FAILURES
from promptcodec.batch.records import Failure
from promptcodec.cli.streams import counted, say, say_record


def report_summary(verb: str, destination: str, summary: Summary, as_json: bool) -> None:
    """Say what a job did, what failed and how to go on: lines for people, or a record of JSON."""
    from promptcodec.batch.measuring import means

    done = summary.progress
    if as_json:
        say_record("batch", "summary", {
            "job": verb, "shards": summary.shards, "shards_earlier": summary.earlier,
            "shards_unfinished": summary.unfinished, **asdict(done), "failures": len(summary.failures),
            "carried": summary.carried, "warnings": {text: n for text, (n, _) in summary.warnings.items()},
            "worker_deaths": summary.deaths, "seconds": round(summary.seconds, 3), "stopped": summary.stopped,
            "means": means(summary.sums),
        })  # fmt: skip
        return
    for text, (count, first) in summary.warnings.items():
        say(f"promptcodec: {counted(count, 'picture')} ({first}): {text}", error=True)
    for key, values in means(summary.sums).items():
        say(f"{key}: " + ", ".join(f"{name} {value:.4f}" for name, value in values.items()))
    parts = [f"{summary.shards} done", f"{summary.earlier} before" * bool(summary.earlier),
             f"{summary.unfinished} not finished" * bool(summary.unfinished)]  # fmt: skip
    shards = summary.shards + summary.earlier + summary.unfinished
    say(f"{counted(shards, 'shard')}: {', '.join(filter(None, parts))}")
    size = f", {done.bytes_in:,} -> {done.bytes_out:,} bytes" if done.bytes_in else ""
    rate = done.pictures / max(summary.seconds, 1e-9)
    deaths = f", {counted(summary.deaths, 'worker')} died" * bool(summary.deaths)
    say(f"{counted(done.pictures, 'picture')}, {done.pixels / 1e6:.1f} MP{size} in {summary.seconds:.1f} s "
        f"({rate:.2f} a second){deaths}")  # fmt: skip
    if summary.failures:
        say(f"{counted(len(summary.failures), 'failure')}, listed in {destination.rstrip('/')}/{FAILURES}")
    if summary.unfinished or summary.stopped:
        say("the same command goes on from here")


def failure_record(failure: Failure) -> dict[str, str]:
    """Return a failure as a record of JSON."""
    return {"file": failure.file, "message": failure.message}
