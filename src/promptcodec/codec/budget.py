"""Pictures in the memory there is: how large tiles may be, from what networks take per pixel, and what is refused."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator

from promptcodec.bitstream.tiling import TILE_UNIT
from promptcodec.errors import LimitError
from promptcodec.model.config import STRIDE, Attention, Model, ReflectConv, Resample, Stage, Transform
from promptcodec.system.memory import available_bytes

DEFAULT_MEMORY = 2**30  # bytes for the networks, beside the picture itself and the model
HALO = 128  # pixels at least: wide enough that no seam is found (tests/codec/test_tiles.py); part of the format

# Of a float32 map that are alive at once inside a layer, as measured by benchmarks/speed/large_pictures.py.
_COPIES = 6.0
# And of those that a layer leaves behind for its gradient, of each of its blocks: its own, and of its wider half.
_KEPT, _KEPT_WIDE = 7.2, 2.4
_LATENT_BYTES = 100  # a pixel, for the latents of a tile in float64 and what their coding needs

# Estimates from below never refuse what would fit.
_TILE_BYTES = 200  # of a pixel of a tile, for the networks of the smallest model
_PICTURE_BYTES = 3  # of a pixel of the whole picture
_NEVER_REFUSED = 2**27  # bytes: a process that has loaded a model holds more, which counts as what it can have


def synthesis_halo(config: Model) -> int:
    """Pixels around a tile that its synthesis sees: a multiple of what the windows of its attention repeat in."""
    return _multiple(HALO, _period(config.synthesis, 16))


def analysis_halo(config: Model) -> int:
    """As ``synthesis_halo``, for the analysis and the hyper analysis behind it. The encoder's own affair."""
    return _multiple(HALO, math.lcm(_period(config.analysis, 1), _period(config.hyper_analysis, 16)))


def tile_size(height: int, width: int, config: Model, memory: int, gradients: bool = False) -> tuple[int, int]:
    """Height and width of the tiles of a picture, multiples of 256, equal among themselves; (0, 0) for no division.

    ``memory``: bytes that the networks may take for one tile, with ``gradients`` of the synthesis if they are needed.
    Warns where even the smallest tile, or a picture that is no larger than one, takes more.
    """
    halo = max(synthesis_halo(config), analysis_halo(config))
    a_pixel = bytes_a_pixel(config, gradients)
    most = memory / a_pixel
    if height * width <= most:
        return 0, 0
    if max(height, width) <= TILE_UNIT:
        _warn_of_little(memory, f"a picture of {width} x {height} pixels takes", a_pixel * height * width, config)
        return 0, 0
    side = math.isqrt(max(int(most), 0))
    across = along = max(side - 2 * halo, 0) // TILE_UNIT * TILE_UNIT
    # A picture that is flatter than a square tile leaves room in the other direction.
    if height <= across:
        across, along = height, (int(most / height) - 2 * halo) // TILE_UNIT * TILE_UNIT
    elif width <= along:
        across, along = (int(most / width) - 2 * halo) // TILE_UNIT * TILE_UNIT, width
    if across <= 0 or along <= 0:
        _warn_of_little(memory, "the smallest tiles take", a_pixel * (TILE_UNIT + 2 * halo) ** 2, config)
        return TILE_UNIT, TILE_UNIT
    return _even(height, across), _even(width, along)


def _warn_of_little(memory: int, what: str, needed: float, config: Model) -> None:
    warnings.warn(
        f"{memory / 2**20:.3g} MiB of memory are too few for {config.name}: {what} {needed / 2**20:.3g} MiB",
        stacklevel=7,
    )


def padded_pixels(height: int, width: int) -> int:
    """Return how many pixels of a picture the networks see: those of whole blocks of 64."""
    return _multiple(height, STRIDE) * _multiple(width, STRIDE)


def bytes_a_pixel(config: Model, gradients: bool = False) -> float:
    """Of the networks at their most hungry, an estimate: some copies of the largest map that they make; with
    ``gradients``, what all blocks of the synthesis keep for them."""
    if gradients:
        kept = 0.0
        for layer, _, after, channels in _strides(config.synthesis, 16):
            blocks = layer.depth * (_KEPT + _KEPT_WIDE * layer.ffn_ratio) if isinstance(layer, Stage) else 1.0
            kept += channels / after**2 * blocks
        return max(4 * kept + _LATENT_BYTES, bytes_a_pixel(config))
    largest = max(*_floats_a_pixel(config.analysis, 1), *_floats_a_pixel(config.synthesis, 16))
    return 4 * _COPIES * largest + _LATENT_BYTES


def check_memory(height: int, width: int, tile: int) -> None:
    """Refuse a picture with tiles of ``tile`` pixels that takes more memory than can be had, with LimitError.

    Better an error than a machine that starts to kill processes. Nothing happens where the system does not tell it.
    """
    needed = _TILE_BYTES * tile + _PICTURE_BYTES * height * width
    if needed <= _NEVER_REFUSED:
        return
    free = available_bytes()
    if free is not None and needed > free:
        raise LimitError(
            f"a picture of {width} x {height} pixels needs more than {needed / 2**30:.1f} GiB of memory; "
            f"{free / 2**30:.1f} GiB are free"
        )


def _even(length: int, most: int) -> int:
    """Return the size of as few tiles as possible, as equal as multiples of 256 allow."""
    count = -(-length // most)
    return _multiple(-(-length // count), TILE_UNIT)


def _multiple(least: int, of: int) -> int:
    return -(-least // of) * of


def _strides(transform: Transform, stride: int) -> Iterator[tuple[object, int, int, int]]:
    """Every layer with the pixels a token that it begins and ends with, and the channels that it ends with."""
    down = not any(isinstance(l, Resample) and l.kind != "down" for l in transform.layers)
    channels = transform.in_channels
    for layer in transform.layers:
        before = stride
        if isinstance(layer, (Resample, ReflectConv)):
            channels = layer.channels
            stride = stride * layer.stride if down or layer.stride == 1 else stride // layer.stride
        yield layer, before, stride, channels


def _period(transform: Transform, stride: int) -> int:
    """Pixels after which the windows of all attention layers of a transform begin together."""
    period = 1
    for layer, before, _, _ in _strides(transform, stride):
        if isinstance(layer, Stage) and isinstance(layer.mixer, Attention):
            period = math.lcm(period, layer.mixer.window * before)
    return period


def _floats_a_pixel(transform: Transform, stride: int) -> Iterator[float]:
    """Size of the map behind every layer, and of what a shuffled or feed-forward layer makes on the way."""
    for layer, _, after, channels in _strides(transform, stride):
        inside = layer.ffn_ratio if isinstance(layer, Stage) and layer.ffn != "none" else 1.0
        # Window attention on the CPU runs strip by strip: its feed-forward half is never there as a whole.
        attention = isinstance(layer, Stage) and isinstance(layer.mixer, Attention)
        yield channels / after**2 * (1.0 if attention else max(inside, 1.0))
