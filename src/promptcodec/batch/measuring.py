"""The pictures of a shard measured: rows as ``promptcodec eval`` writes them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from functools import cache
from pathlib import Path

from promptcodec.batch.records import Coded, Sums
from promptcodec.evaluate.codecs.registry import open_codec
from promptcodec.evaluate.data.datasets import PictureFile
from promptcodec.evaluate.judge import Judge
from promptcodec.evaluate.results import Row
from promptcodec.evaluate.runner import measure_one
from promptcodec.system.printable import valid_unicode

Plan = tuple[tuple[str, tuple[float, ...]], ...]

_codec = cache(open_codec)  # as long as the worker lives


@cache
def _judge(names: tuple[str, ...], networks: str | None) -> Judge:
    return Judge(names, None if networks is None else Path(networks))


def rows_of(plan: Plan, metrics: tuple[str, ...], networks: str | None, data: bytes, name: str) -> Coded:
    """Return the rows of a picture, a line of JSON for each codec of ``plan`` and setting.

    Raises PromptcodecError where one fails on this picture, UsageError for codecs and metrics that there are not.
    """
    picture = PictureFile(valid_unicode(name), hashlib.sha256(data).hexdigest(), data)
    pixels = picture.pixels()
    lines, sums = "", dict[str, dict[str, tuple[float, int]]]()
    for spec, settings in plan:
        codec = _codec(spec)
        for setting in settings:
            codec.check(setting)
            row, _ = measure_one(codec, setting, picture, pixels, _judge(metrics, networks))
            lines += json.dumps(asdict(row)) + "\n"
            sums[f"{codec.name} @ {setting:g}"] = _numbers(row, metrics)
    return Coded(lines.encode(), pixels.shape[1], pixels.shape[0], sums)


def _numbers(row: Row, metrics: tuple[str, ...]) -> dict[str, tuple[float, int]]:
    values = {"bpp": row.bpp, **{name: row.metric(name) for name in ("psnr", "ms_ssim", *metrics)}}
    return {name: (value, 1) for name, value in values.items() if value is not None}


def means(sums: Sums) -> dict[str, dict[str, float]]:
    """By codec and setting, then by metric, the mean over all pictures that have one."""
    return {key: {name: total / n for name, (total, n) in each.items()} for key, each in sorted(sums.items())}
