"""``promptcodec eval``: measure codecs on a set of pictures and compare them."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from promptcodec.batch import runtime
from promptcodec.cli import completion, eval_task, options
from promptcodec.cli.progress import measuring
from promptcodec.cli.streams import say, say_record
from promptcodec.errors import UsageError

if TYPE_CHECKING:
    from promptcodec.evaluate.bdrate import Method
    from promptcodec.evaluate.codecs.evaluated_codec import EvaluatedCodec
    from promptcodec.evaluate.judge import Judge
    from promptcodec.evaluate.results import ResultsFile, Row
    from promptcodec.evaluate.summary import Summary

DEFAULT_CODECS = ("promptcodec", "jpeg", "webp", "jpeg2000", "avif")


def command(
    dataset: Annotated[
        list[str] | None,
        typer.Argument(
            help="Folders of pictures, picture files, or a test set and its folder, which is checked: kodak=FOLDER; "
            "cid22, clic2020, clic2020-mobile, clic2021 and later, tecnick, coco (with masks)."
        ),
    ] = None,
    codecs: Annotated[
        list[str] | None,
        typer.Option(
            "--codec",
            help="A codec, again for more: promptcodec, promptcodec:MODEL, jpeg, avif-psnr, ...; "
            f"{', '.join(DEFAULT_CODECS)} by default.",
            autocompletion=completion.codecs,
        ),
    ] = None,
    qualities: Annotated[
        list[str] | None,
        typer.Option(
            "-q",
            "--quality",
            help="A setting, again for more: 30 for all codecs with a quality scale, jpeg=30 for one"
            " (jpeg2000: bits per pixel). Codecs without any use their own ladder.",
        ),
    ] = None,
    output: Annotated[
        Path,
        typer.Option("-o", "--output", help="Results, one JSON line a measurement; what it holds is kept."),
    ] = Path("results.jsonl"),
    metrics: Annotated[
        list[str] | None,
        typer.Option(
            "--metric",
            help="Beside psnr and ms_ssim, again for more: ssimulacra2, psnr_yuv, lpips_alex, "
            "lpips_vgg, dists, psnr_inside, psnr_outside, psnr_weighted.",
            autocompletion=completion.metrics,
        ),
    ] = None,
    networks: Annotated[
        Path | None,
        typer.Option(help="Folder of weights for LPIPS, DISTS and recognisers; else PROMPTCODEC_NETWORKS."),
    ] = None,
    masks: Annotated[
        Path | None, typer.Option(help="Folder of PNGs named as the pictures, white where the picture matters.")
    ] = None,
    jobs: Annotated[
        int, typer.Option("-j", "--jobs", min=1, help="Measure several at once; their seconds then mean little.")
    ] = 1,
    anchors: Annotated[
        list[str] | None,
        typer.Option(
            "--anchor",
            help="A codec to compare with, again for more, or none. Default: all but promptcodec.",
            autocompletion=completion.codecs,
        ),
    ] = None,
    curves: Annotated[
        list[str] | None,
        typer.Option(
            "--curve",
            help="A stored curve (see `promptcodec curves`) or CompressAI's JSON file to compare with, again for more.",
            autocompletion=completion.curves,
        ),
    ] = None,
    families: options.Families = None,
    task: Annotated[
        str | None,
        typer.Option(
            "--task",
            help="Measure what a recogniser still sees instead: classify, detect or read (docs/tasks.md). Labels lie "
            "beside the pictures; without them, agreement with the originals is measured.",
        ),
    ] = None,
    recognisers: Annotated[
        list[str] | None,
        typer.Option(
            "--recogniser", help="Recogniser; repeat for several: efficientnet-lite2, yolox-nano, FILE.py:CLASS, ..."
        ),
    ] = None,
    coded_sizes: Annotated[
        list[str] | None,
        typer.Option(
            "--coded-size",
            help="input: code pictures at the size that the recogniser looks at; native: as they are. Both by default.",
        ),
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="File of labels for --task, where it does not lie beside the pictures.")
    ] = None,
    method: Annotated[str, typer.Option(help="Of the Bjøntegaard differences: pchip, or the classic cubic.")] = "pchip",
    compressai: Annotated[
        Path | None, typer.Option(help="Folder into which every curve is written as CompressAI's result JSON.")
    ] = None,
    threads: Annotated[int, typer.Option(min=0, help="Threads of promptcodec (0: torch chooses); others use one.")] = 0,
    summary_only: Annotated[bool, typer.Option("--summary-only", help="Measure nothing.")] = False,
    as_json: options.Json = False,
    plot: Annotated[Path | None, typer.Option(help="Also draw the curves into this PNG file.")] = None,
    plot_metric: Annotated[str, typer.Option(help="psnr, ms_ssim or one of --metric.")] = "psnr",
) -> None:
    """Measure rate, PSNR, MS-SSIM and time of codecs on pictures; print means, BD-rates and comparisons."""
    from rich.console import Console

    from promptcodec.evaluate.data.stored import open_curve
    from promptcodec.evaluate.families import as_curves, read_families
    from promptcodec.evaluate.results import ResultsFile
    from promptcodec.evaluate.summary import summarise
    from promptcodec.system.extras import import_extra

    if task is not None:
        refused = {"--metric": metrics, "--masks": masks, "--curve": curves, "--compressai": compressai,
                   "--jobs": jobs > 1, "--family": families}  # fmt: skip
        if unfit := [name for name, value in refused.items() if value]:
            raise UsageError(f"{unfit[0]} does not go with --task")
        names = options.names_of("--codec", codecs) or eval_task.default_codecs()
        eval_task.run(
            task, dataset or [], options.names_of("--recogniser", recognisers), coded_sizes or [], labels, networks,
            [] if summary_only else plan(names, qualities or []), output, _anchors(anchors), threads, plot, as_json,
        )  # fmt: skip
        return
    if recognisers or coded_sizes or labels is not None:
        raise UsageError("--recogniser, --coded-size and --labels need --task")
    metric, differences = _metric(plot_metric), _method(method)
    stored = [open_curve(name) for name in options.names_of("--curve", curves)]
    names = options.names_of("--codec", codecs) or list(DEFAULT_CODECS)
    against = _anchors(anchors)
    measures, joined = options.names_of("--metric", metrics), read_families(families or [])
    runtime.prepare(threads)
    import_extra("scipy.interpolate", "scipy")  # not after hours of measuring
    if plot is not None:
        import_extra("matplotlib.figure", "matplotlib")
    results = ResultsFile(output)
    with TemporaryDirectory() as prepared:
        pictures, object_masks = _pictures(dataset or [], Path(prepared))
        masks = masks or object_masks
        if summary_only:
            rows = _stored_rows(results, pictures)
        else:
            judge = _judge(measures, networks, masks)
            rows = _measured_rows(results, pictures, plan(names, qualities or []), judge, masks, jobs)

    rows = as_curves(rows, joined, set(against or ()))
    summary = summarise(rows, against, stored, differences)
    if compressai is not None:
        _export(summary, compressai)
    if plot is not None:
        from promptcodec.evaluate.pages.plots import rd_plot

        rd_plot(rows, plot, [metric])
    if as_json:
        say_record("eval", "summary", asdict(summary))
    else:
        from promptcodec.evaluate.pages.report import print_summary

        print_summary(summary, Console())


def _anchors(values: list[str] | None) -> list[str] | None:
    """Return the anchors named, none at all for ``none``; None where nothing is said."""
    names = options.names_of("--anchor", values)
    return [] if names == ["none"] else names or None


def _metric(name: str) -> str:
    from promptcodec.evaluate.metrics import METRICS

    if name not in METRICS:
        raise UsageError(f"--plot-metric is one of {', '.join(METRICS)}, not {name!r}")
    return name


def _method(name: str) -> Method:
    if name == "pchip":
        return "pchip"
    if name == "cubic":
        return "cubic"
    raise UsageError(f"--method is pchip or cubic, not {name!r}")


def _export(summary: Summary, folder: Path) -> None:
    from promptcodec.evaluate.data.stored import write_compressai

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the folder {folder}: {error.strerror}") from error
    for label, points in summary.curves.items():
        name = label.replace(":", "-").replace("/", "-")
        description = f"promptcodec eval, real files, means over {summary.pictures} pictures"
        write_compressai(folder / f"{name}.json", label, description, [point.stored() for point in points])


def _judge(names: list[str], networks: Path | None, masks: Path | None) -> Judge:
    """Open the judge of the metrics.

    Raises UsageError for unknown metrics, and for those whose networks or masks are not given.
    """
    from promptcodec.evaluate.judge import Judge
    from promptcodec.evaluate.metrics import IN_EVERY_ROW, MASKED
    from promptcodec.quality.networks import networks_folder

    if masks is None and (needy := [name for name in names if name in MASKED]):
        raise UsageError(f"{needy[0]} needs --masks")
    return Judge([name for name in names if name not in IN_EVERY_ROW], networks_folder(networks))


def _pictures(sources: list[str], prepared: Path) -> tuple[list[Path], Path | None]:
    """Return the pictures of all sources, each once, and the folder of masks that one of them brought."""
    from promptcodec.evaluate.data.coco import prepare
    from promptcodec.evaluate.data.datasets import find_pictures
    from promptcodec.evaluate.data.named_sets import COCO, open_set, split_name

    paths: dict[Path, None] = {}
    masks = None
    for name, path in map(split_name, sources):
        if name == COCO and len(sources) > 1:
            raise UsageError("coco brings masks, which the other pictures lack: measure it alone")
        if name == COCO:
            folder, masks = prepare(path, prepared)
            paths |= dict.fromkeys(find_pictures([folder]))
        elif name is not None:
            pictures, part = open_set(name, path)
            paths |= dict.fromkeys(pictures)
            if part is not None:
                say(f"note: {part}", error=True)
        else:
            paths |= dict.fromkeys(find_pictures([path]))
    return list(paths), masks


def _stored_rows(results: ResultsFile, pictures: list[Path]) -> list[Row]:
    """Return the rows of the file, of the ``pictures`` alone where there are any."""
    from promptcodec.evaluate.data.datasets import read_picture

    if not results.path.exists():
        raise UsageError(f"there is no results file {results.path}")
    if not pictures:
        return list(results)
    hashes = {read_picture(path).sha256 for path in pictures}
    return [row for row in results if row.sha256 in hashes]


def _measured_rows(
    results: ResultsFile,
    pictures: list[Path],
    codecs: list[tuple[EvaluatedCodec, list[float]]],
    judge: Judge,
    masks: Path | None,
    jobs: int,
) -> list[Row]:
    """Measure what is new, with a progress bar on a terminal, and return the rows of this plan."""
    from promptcodec.evaluate.data.datasets import find_masks
    from promptcodec.evaluate.runner import measure

    if not pictures:
        raise UsageError("no pictures: name a folder or picture files")
    mask_of = None if masks is None else find_masks(masks, pictures)
    by_key = {codec.key(setting): codec for codec, settings in codecs for setting in settings}
    total = len(pictures) * sum(len(settings) for _, settings in codecs)
    rows = {}
    for row in measuring(measure(pictures, codecs, results, judge, mask_of, jobs), total):
        codec = by_key[row.key[0]]  # rows of earlier runs may lack these, or state another path
        rows[row.key] = replace(row, spec=codec.spec, parameters=codec.parameters)  # pictures may lie there twice
    return list(rows.values())


def plan(names: list[str], qualities: list[str]) -> list[tuple[EvaluatedCodec, list[float]]]:
    """Return the codecs with their settings: those given by name, else those given for all, else the codec's ladder."""
    from promptcodec.evaluate.codecs.registry import open_codec

    settings_by_name: dict[str, list[float]] = {}
    for text in qualities:
        name, equals, value = text.rpartition("=")
        if equals and name not in names:
            raise UsageError(f"--quality {text}: {name!r} is not among the codecs {', '.join(names)}")
        settings_by_name.setdefault(name, []).append(_setting(text, value))
    settings_by_codec = []
    for name in names:
        codec = open_codec(name)
        shared = settings_by_name.get("") if codec.quality_scale else None
        settings = settings_by_name.get(name) or shared or codec.settings
        settings_by_codec.append((codec, list(dict.fromkeys(settings))))
    return settings_by_codec


def _setting(text: str, value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise UsageError(
            f"--quality {text}: expected a number, such as 30 or jpeg=30; give the option again for more"
        ) from None
