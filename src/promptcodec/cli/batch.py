"""``promptcodec batch``: jobs over data sets of any size, which go on where they stopped."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from promptcodec.batch import work
from promptcodec.batch.job import Summary
from promptcodec.batch.manifest import Manifest
from promptcodec.batch.planning import plan_shards
from promptcodec.batch.settings import DEFAULT_QUALITY, DecodeSettings, EncodeSettings, EvalSettings, Settings
from promptcodec.batch.work import Running, available_cores
from promptcodec.bitstream.container import MAX_PIXELS
from promptcodec.cli import completion, decode, encode, options
from promptcodec.cli.inputs import report_others
from promptcodec.cli.job_progress import JobProgress
from promptcodec.cli.job_report import failure_record, report_summary
from promptcodec.cli.streams import counted, say, say_record
from promptcodec.errors import SourceError, UsageError
from promptcodec.model.effort import effort_of

Places = Annotated[
    list[str],
    typer.Argument(
        help="Sources: folders, pictures, .tar and .parquet files, on this machine or at s3:// and other addresses, "
        "with {000..127} for ranges. The last one is the destination, unless -o names it.",
        show_default=False,
    ),
]
Destination = Annotated[
    list[str] | None, typer.Option("-o", "--output", help="Folder or address of the destination, one for a job.")
]
EngineName = Annotated[
    str, typer.Option("--engine", help="What runs the workers: local, processes of this machine; or ray.")
]
Workers = Annotated[
    int | None,
    typer.Option("-j", "--jobs", min=1, help="Workers, at most.", show_default="as many as there are cores or GPUs"),
]
WorkerThreads = Annotated[int, typer.Option("--threads", min=1, max=1024, help="Threads of a worker.")]
Address = Annotated[
    str | None,
    typer.Option(
        "--ray-address", help="Of the Ray cluster; auto: the one of this machine.",
        show_default="RAY_ADDRESS, else a new one of this machine",
    ),
]  # fmt: skip
Gpus = Annotated[
    float, typer.Option("--ray-gpus", min=0.01, help="GPUs a worker, with --device cuda; 0.25: four share.")
]
BatchSize = Annotated[
    int | None,
    typer.Option(
        "--batch-size", min=1, max=256, help="Pictures of one size that the networks are given at once, at most.",
        show_default="8 on a GPU, else 1",
    ),
]  # fmt: skip
Extensions = Annotated[
    list[str] | None,
    typer.Option("--extension", help="Of the files and members that are pictures, again for more; all known ones."),
]
Column = Annotated[
    str,
    typer.Option("--column", help="Column of the pictures in Parquet files.", show_default="image, or the only one"),
]
AmongFiles = Annotated[
    bool, typer.Option("--overwrite", help="Begin in a destination that holds other files, and replace them.")
]
Of = Annotated[str, typer.Argument(metavar="DESTINATION", help="Where the job writes.", show_default=False)]

app = typer.Typer(
    help="Encode, decode or measure data sets of any size, each picture once.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.command("encode")
def encode_command(
    places: Places,
    output: Destination = None,
    quality: encode.Quality = None,
    effort: options.Effort = 0,
    target_size: options.TargetSize = None,
    target_bpp: options.TargetBpp = None,
    target_psnr: options.TargetPsnr = None,
    target_ms_ssim: options.TargetMsSsim = None,
    target_ssimulacra2: options.TargetSsimulacra2 = None,
    strip: options.Strip = False,
    memory: options.Memory = "1GiB",
    preview: encode.Preview = None,
    verify: Annotated[
        bool, typer.Option("--verify/--no-verify", help="Decode each file's latents before it is written.")
    ] = True,
    precision: options.Precise = "float32",
    extension: Extensions = None,
    column: Column = "",
    overwrite: AmongFiles = False,
    engine: EngineName = "local",
    workers: Workers = None,
    threads: WorkerThreads = 1,
    ray_address: Address = None,
    ray_gpus: Gpus = 1.0,
    device: options.Device = "cpu",
    batch_size: BatchSize = None,
    model: options.ModelName = None,
    adapter: options.Adapters = None,
    roi: encode.Roi = None,
    map_: options.Maps = None,
    look: options.Look = None,
    set_: options.Set = None,
    as_json: options.Json = False,
) -> None:
    """Compress all pictures of the sources into .ptc files; the same command again goes on where it stopped."""
    target = options.one_target(quality, target_size, target_bpp, target_psnr, target_ms_ssim, target_ssimulacra2)
    settings = EncodeSettings(
        quality, target, model, strip, device, tuple(adapter or ()), options.settings_of(look, set_),
        options.maps_of(roi, map_), effort_of(effort).level, int(options.parse_size(memory)), preview, precision,
        verify, batch_size,
    )  # fmt: skip
    _run(
        places,
        output,
        settings,
        extension,
        column,
        Running(engine, workers, threads, ray_address, ray_gpus, overwrite=overwrite),
        as_json,
    )


@app.command("decode")
def decode_command(
    places: Places,
    output: Destination = None,
    format: Annotated[str, typer.Option("--format", help="Of the pictures: png, jpg, webp, …")] = "png",
    strip: options.Strip = False,
    crop: decode.Crop = None,
    preview: decode.Preview = False,
    max_pixels: decode.MaxPixels = MAX_PIXELS,
    precision: options.Precise = "float32",
    column: Column = "",
    overwrite: AmongFiles = False,
    engine: EngineName = "local",
    workers: Workers = None,
    threads: WorkerThreads = 1,
    ray_address: Address = None,
    ray_gpus: Gpus = 1.0,
    device: options.Device = "cpu",
    model: options.ModelName = None,
    adapter: options.Adapters = None,
    look: options.Look = None,
    set_: options.Set = None,
    as_json: options.Json = False,
) -> None:
    """Decode all .ptc files of the sources to pictures."""
    scalars = options.settings_of(look, set_)
    if preview and (crop is not None or adapter or scalars):
        raise UsageError("--preview shows the picture in small as the base codec does: no --crop, --adapter, --set")
    decode.check_writable("." + format.lower().lstrip("."))
    settings = DecodeSettings(
        format, model, strip, device, max_pixels or None, tuple(adapter or ()), scalars,
        None if crop is None else options.rectangle("--crop", crop), preview, precision,
    )  # fmt: skip
    _run(
        places,
        output,
        settings,
        None,
        column,
        Running(engine, workers, threads, ray_address, ray_gpus, overwrite=overwrite),
        as_json,
    )


@app.command("eval")
def eval_command(
    places: Places,
    output: Destination = None,
    codecs: Annotated[
        list[str] | None,
        typer.Option(
            "--codec",
            help="As of `promptcodec eval`, again for more; promptcodec by default.",
            autocompletion=completion.codecs,
        ),
    ] = None,
    qualities: Annotated[
        list[float] | None, typer.Option("-q", "--quality", help="A setting of every codec, again for more; 50.")
    ] = None,
    metrics: Annotated[
        list[str] | None,
        typer.Option(
            "--metric",
            help="Beside psnr and ms_ssim, again for more: ssimulacra2, psnr_yuv, lpips_alex, lpips_vgg, dists.",
            autocompletion=completion.metrics,
        ),
    ] = None,
    networks: Annotated[
        Path | None, typer.Option(help="Folder of the weights for LPIPS and DISTS; else PROMPTCODEC_NETWORKS.")
    ] = None,
    extension: Extensions = None,
    column: Column = "",
    overwrite: AmongFiles = False,
    engine: EngineName = "local",
    workers: Workers = None,
    threads: WorkerThreads = 1,
    ray_address: Address = None,
    ray_gpus: Gpus = 1.0,
    as_json: options.Json = False,
) -> None:
    """Measure codecs on all pictures of the sources: rows of results for each shard, means in the end."""
    from promptcodec.quality.networks import networks_folder

    at = tuple(qualities or [DEFAULT_QUALITY])
    plan = tuple((spec, at) for spec in options.names_of("--codec", codecs) or ["promptcodec"])
    folder = networks_folder(networks)
    settings = EvalSettings(plan, tuple(options.names_of("--metric", metrics)), None if folder is None else str(folder))
    _run(
        places,
        output,
        settings,
        extension,
        column,
        Running(engine, workers, threads, ray_address, ray_gpus, overwrite=overwrite),
        as_json,
    )


@app.command("retry")
def retry_command(
    destination: Of,
    engine: EngineName = "local",
    workers: Workers = None,
    threads: WorkerThreads = 1,
    ray_address: Address = None,
    ray_gpus: Gpus = 1.0,
    as_json: options.Json = False,
) -> None:
    """Try again what failed in a job: its files, or the tar and Parquet files that they are in."""
    job = Manifest(destination).job()
    _driven(job.settings.verb, destination, Running(engine, workers, threads, ray_address, ray_gpus), as_json,
            lambda running: work.retry(destination, running=running))  # fmt: skip


@app.command("status")
def status_command(
    destination: Of,
    failures: Annotated[bool, typer.Option("--failures", help="List the failures, a line of JSON each.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Read all outputs and compare them with their hashes.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Say what a job has done, what failed and what is left; with --check, whether its outputs are as recorded."""
    manifest = Manifest(destination)
    job, done = manifest.job(), manifest.done()
    listed = done.failures()
    if failures:
        for failure in listed:
            say_record("batch", "failure", failure_record(failure))
        return
    wrong = list(manifest.wrong_outputs(done)) if check else []
    try:
        settings = job.settings
        plan = plan_shards(
            job.sources, destination, settings.verb, settings.suffix, job.extensions, job.column, available_cores()
        )
        left = len(done.remaining(plan.shards))
        remaining = f"{left} shards are left" if left else "nothing is left"
    except (UsageError, SourceError) as error:
        left, remaining = None, f"what is left cannot be told: {error}"
    records = done.records.values()
    facts: dict[str, Any] = {
        "destination": destination, "job": job.identity(), "shards": len(done.records), "shards_left": left,
        "pictures": sum(record.pictures for record in records), "failures": len(listed),
        "pixels": sum(record.pixels for record in records), "picture_bytes": sum(r.bytes_in for r in records),
        "bytes": sum(record.bytes_out for record in records), "wrong_outputs": wrong if check else None,
    }  # fmt: skip
    if as_json:
        say_record("batch", "job", facts)
    else:
        say(f"{job.settings.verb}, {counted(facts['shards'], 'shard')} recorded, {remaining}")
        say(f"{counted(facts['pictures'], 'picture')}, {facts['picture_bytes']:,} -> {facts['bytes']:,} bytes, "
            f"{counted(len(listed), 'failure')}")  # fmt: skip
        for name in wrong:
            say(f"promptcodec: {name} is missing, or not what was written", error=True)
    sys.exit(1 if listed or wrong else 0)


def _run(
    places: list[str], outputs: list[str] | None, settings: Settings, extensions: list[str] | None, column: str,
    running: Running, as_json: bool,
) -> None:  # fmt: skip
    if outputs:
        target = work.one_destination(outputs)
    else:
        if len(places) < 2:
            raise UsageError("name the sources and then the destination, or the destination with -o")
        *places, target = places
    suffixes = tuple(options.names_of("--extension", extensions))
    _driven(settings.verb, target, running, as_json,
            lambda running: work.run(places, target, settings, suffixes, column, running))  # fmt: skip


def _driven(verb: str, destination: str, running: Running, as_json: bool, run: Callable[[Running], Summary]) -> None:
    """Run a job under the eyes of people, report what became of it, and exit."""
    with JobProgress(verb, as_json) as progress:
        summary = run(replace(running, watcher=progress))
    report_others(summary.passed_over, frozenset())
    report_summary(verb, destination, summary, as_json)
    sys.exit(0 if summary.complete else 1)
