"""How fast this machine is with what is installed: a few figures that take a few seconds in all."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from promptcodec.api import load
from promptcodec.bitstream.rans import DEFAULT_BACKEND, Decoder, encode
from promptcodec.bitstream.tables import BINS, SIGMA_MAX, SIGMA_MIN, gaussian_tables
from promptcodec.evaluate.cost.bench import convolution_peak, least_seconds
from promptcodec.model.inference.precision import cpu_speedup
from promptcodec.model.layers.compiled_windows import kernels_work
from promptcodec.picture.write import to_pil

WIDTH, HEIGHT = 384, 256  # pixels of the picture that is coded
SYMBOLS = 16_384  # the coder in pure Python takes a tenth of a second for them


@dataclass(frozen=True)
class MachineSpeed:
    """What was measured on the CPU, at ``threads`` threads.

    ``peak_gflops``: float32 3x3 convolution. ``bfloat16_speedup``: of a matrix product over the same in float32.
    ``coder``: the entropy coder's implementation, with millions of symbols a second. ``compiled_attention``: whether
    attention can be compiled for this processor. ``encode_s``, ``decode_s``: seconds for a picture of ``width`` x
    ``height`` pixels with the default model.
    """

    cores: int
    threads: int
    peak_gflops: float
    bfloat16_speedup: float
    compiled_attention: bool
    coder: str
    coder_encode_msym_per_s: float
    coder_decode_msym_per_s: float
    width: int
    height: int
    encode_s: float
    decode_s: float


def measure_machine() -> MachineSpeed:
    """Time this machine's products, the entropy coder, and one picture with the default model."""
    tables, rng = gaussian_tables(), np.random.default_rng(0)
    bins = rng.integers(0, BINS, SYMBOLS).astype(np.uint8)
    symbols = np.rint(rng.normal(0, np.geomspace(SIGMA_MIN, SIGMA_MAX, BINS)[bins])).astype(np.int32)
    stream = encode([(symbols, bins, tables)])
    encoding = least_seconds(lambda: encode([(symbols, bins, tables)]), 2)
    decoding = least_seconds(lambda: Decoder(stream).pull(bins, tables), 2)
    codec, picture = load(), _picture()
    coded = codec.encode(picture)
    return MachineSpeed(
        cores=available_cores(),
        threads=torch.get_num_threads(),
        peak_gflops=round(convolution_peak(10), 1),
        bfloat16_speedup=float(f"{cpu_speedup():.2g}"),
        compiled_attention=kernels_work(),
        coder=DEFAULT_BACKEND,
        coder_encode_msym_per_s=round(SYMBOLS / encoding / 1e6, 2),
        coder_decode_msym_per_s=round(SYMBOLS / decoding / 1e6, 2),
        width=WIDTH,
        height=HEIGHT,
        encode_s=round(least_seconds(lambda: codec.encode(picture), 2), 3),
        decode_s=round(least_seconds(lambda: to_pil(codec.decode_picture(coded)).save(io.BytesIO(), "PNG"), 2), 3),
    )


def available_cores() -> int:
    """Count the CPU cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def devices() -> dict[str, str]:
    """Return the names of the devices that PyTorch can use beside the CPU, by what --device calls them."""
    names = {f"cuda:{i}": torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())}
    return names | ({"mps": "Apple GPU"} if torch.backends.mps.is_available() else {})


def _picture() -> NDArray[np.uint8]:
    """Return (HEIGHT, WIDTH, 3): smooth areas and texture, so that it costs about what a photo does."""
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(40, 216, (HEIGHT // 32, WIDTH // 32, 3), dtype=np.uint8))
    smooth = np.asarray(small.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC), np.float32)
    return np.clip(smooth + rng.normal(0, 6, (HEIGHT, WIDTH, 1)), 0, 255).astype(np.uint8)
