"""Where the time goes: phases of one encode and one decode, beside the machine's measured convolution peak."""

from __future__ import annotations

import math
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from promptcodec.api import codec_of
from promptcodec.bitstream.container import pack, unpack
from promptcodec.bitstream.contents import Q_STEPS, Header, PtcFile, Tile
from promptcodec.codec.codec import Codec
from promptcodec.codec.latents import symbols_of_z
from promptcodec.codec.one_shot import OneShotCoder
from promptcodec.model.base import CompressionModel, channels_last
from promptcodec.model.inference.precision import Precision
from promptcodec.model.kernels.workers import torch_alone
from promptcodec.model.layers.compiled_windows import kernels_work
from promptcodec.model.layers.pointwise import onednn_linear_works
from promptcodec.model.presets.registry import PRESETS
from promptcodec.picture.read import read
from promptcodec.picture.write import to_pil, write
from promptcodec.store.model_file import load_model, save_model

Q = 32_768


@dataclass(frozen=True)
class Phase:
    """Least seconds of a phase; for networks also multiplications and the share of the convolution peak."""

    name: str
    seconds: float
    gmac: float | None = None
    share_of_peak: float | None = None


@dataclass(frozen=True)
class Bench:
    """One run. ``precision``: of the synthesis. ``peak_gflops``: float32 3x3 convolution, 128 channels, in this run, at
    the same threads. ``compiled``: whether attention can be, see ``promptcodec.model.kernels.compiled``."""

    model: str
    width: int
    height: int
    threads: int
    precision: str
    peak_gflops: float
    phases: list[Phase]
    encode_s: float
    decode_s: float
    bytes: int
    peak_memory_mib: float | None
    compiled: bool


def untrained(name: str, precision: Precision = "float32") -> Codec:
    """Return a codec of a preset with random weights, through a model file like any other."""
    with torch.random.fork_rng(devices=[]), tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        path = Path(folder) / "model.safetensors"
        save_model(CompressionModel(PRESETS[name]()), path, "untrained")
        return codec_of(load_model(path), precision=precision)


def convolution_peak(repeats: int) -> float:
    """Measure the GFLOP/s of torch's float32 3x3 convolution, 128 to 128 channels on 192x256, channels last."""
    layer = channels_last(torch.nn.Conv2d(128, 128, 3, padding=1))
    x = torch.rand(1, 128, 192, 256).to(memory_format=torch.channels_last)
    with torch.inference_mode():
        return 2e-9 * 128 * 128 * 9 * 192 * 256 / least_seconds(lambda: layer(x), max(10, repeats))


def bench(codec: Codec, picture: Path, repeats: int) -> Bench:
    """Measure ``codec`` on ``picture``: every phase ``repeats`` times, the least counts."""
    coder, hyper = codec.coder, codec.backend.hyper
    q = Q / Q_STEPS if codec.config.gain is not None else 0.0
    source = read(picture)
    height, width = source.rgb.shape[:2]
    latents = codec.analyse(source.rgb)
    coded = coder.encode(latents, q)
    z_symbols = symbols_of_z(hyper, latents, hyper.gains(q))
    z_hat, y_hat = coder.decode_both(coded, height, width, q)
    header = Header(width, height, codec.backend.probability, codec.backend.pixels, round(q * Q_STEPS))
    file = PtcFile(header, (Tile(coded.checksum, coded.offsets, coded.stream),))
    data, pixels = pack(file), codec.synthesise(y_hat, z_hat, height, width, q)
    decoded = type(source)(pixels)

    def parameters() -> None:
        if isinstance(coder, OneShotCoder):
            hyper.log_scales(z_symbols, q)
        else:
            next(hyper.schedule(z_symbols, q))

    def to_png() -> None:
        with tempfile.TemporaryDirectory() as folder:
            write(decoded, Path(folder) / "decoded.png")

    peak = convolution_peak(repeats)
    time_of = {
        "read picture": least_seconds(lambda: read(picture), repeats),
        "analysis": least_seconds(lambda: codec.analyse(source.rgb), repeats),
        "parameters": least_seconds(parameters, repeats),
        "encode latents": least_seconds(lambda: coder.encode(latents, q), repeats),
        "write file": least_seconds(lambda: pack(file), repeats),
        "read file": least_seconds(lambda: unpack(data), repeats),
        "decode latents": least_seconds(lambda: coder.decode_both(coded, height, width, q)[1], repeats),
        "synthesis": least_seconds(lambda: codec.synthesise(y_hat, z_hat, height, width, q), repeats),
        "write PNG": least_seconds(to_png, repeats),
    }
    macs = {
        "analysis": _gmac(lambda: codec.analyse(source.rgb)),
        "parameters": _gmac(parameters),
        "synthesis": _gmac(lambda: codec.synthesise(y_hat, z_hat, height, width, q)),
    }
    if isinstance(coder, OneShotCoder):
        symbols, log_scale = coder.symbols.decode(coded, height, width, q)
        time_of["means"] = least_seconds(lambda: coder.latent(symbols, log_scale, q), repeats)
        macs["means"] = _gmac(lambda: coder.latent(symbols, log_scale, q))
    # The latents' coding includes their parameters and means; what is left is symbols, tables and checksums.
    for side in ("encode latents", "decode latents"):
        time_of[side] = max(time_of[side] - time_of["parameters"] - time_of.get("means", 0.0), 0.0)
    phases = [
        Phase(name, round(seconds, 4), *_share(macs.get(name), seconds, peak)) for name, seconds in time_of.items()
    ]
    encode_s = least_seconds(lambda: codec.encode(picture, None if codec.config.gain is None else 100 * q), repeats)
    decode_s = least_seconds(lambda: to_pil(codec.decode_picture(data)), repeats)
    precision = "bfloat16" if getattr(codec.backend, "bfloat16", False) else "float32"
    return Bench(
        codec.name, width, height, torch.get_num_threads(), precision,
        round(peak, 1), phases, round(encode_s, 4), round(decode_s, 4), len(data), _peak_memory(), kernels_work(),
    )  # fmt: skip


def _share(gmac: float | None, seconds: float, peak: float) -> tuple[float | None, float | None]:
    return (None, None) if gmac is None else (round(gmac, 3), round(2 * gmac / seconds / peak, 3))


def least_seconds(call: Callable[[], object], repeats: int) -> float:
    """Measure the least wall seconds of ``repeats`` calls, after one that warms up."""
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def _gmac(call: Callable[[], object]) -> float:
    """Count the multiplications, by torch's own counter, which has to be told of the oneDNN operator."""
    mapping = {torch.ops.mkldnn._linear_pointwise: _linear_flops} if onednn_linear_works() else {}
    with torch_alone(), FlopCounterMode(display=False, custom_mapping=mapping) as counter:
        call()
    return float(counter.get_total_flops()) / 2e9


def _linear_flops(x: Sequence[int], weight: Sequence[int], *_: object, **__: object) -> int:
    return 2 * math.prod(x) * weight[0]


def _peak_memory() -> float | None:
    """Return the miB of this process at its largest, None where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 1)
