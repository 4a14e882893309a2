"""TIFF files whose samples Pillow does not read, or misreads, rewritten with samples of 8 bits.

Grey and RGB, with alpha or without, of 1 to 64 bits, unsigned or floating point, in strips or tiles, in one plane or
several, in either byte order, with black or white as zero. Everything else that the file says of the picture
(orientation, profile, EXIF, XMP) stays as it is: the new directory points to the old values.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import TiffImagePlugin

from promptcodec.bitstream.container import MAX_PIXELS
from promptcodec.bitstream.contents import MAX_SIDE
from promptcodec.errors import ImageError, LimitError
from promptcodec.picture.samples import eight_bits, warn_of_darkness, warn_of_depth

TIFF_PREFIXES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER = 256, 257, 258, 259, 262, 266
_STRIPS, _CHANNELS, _ROWS, _STRIP_BYTES, _PLANAR, _PREDICTOR = 273, 277, 278, 279, 284, 317
_TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_BYTES, _EXTRA, _FORMAT = 322, 323, 324, 325, 338, 339
# What describes the samples as they were stored, and no longer holds.
_REPLACED = frozenset(
    (_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER, _STRIPS, _CHANNELS, _ROWS, _STRIP_BYTES, _PLANAR,
     _PREDICTOR, _TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_BYTES, _EXTRA, _FORMAT, 280, 281, 340, 341)
)  # fmt: skip
_TYPES = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q"}  # of whole numbers; the others have sizes alone
_NAMES = {1: "unsigned integer", 2: "signed integer", 3: "floating-point", 4: "undefined", 5: "complex integer",
          6: "complex"}  # fmt: skip
_COLOURS = {0: "grey", 1: "grey", 2: "RGB", 3: "palette", 5: "CMYK", 6: "YCbCr", 8: "CIELab", 9: "ICCLab", 10: "ITULab",
            32803: "colour filter array", 34892: "linear raw"}  # fmt: skip
_DEFLATE = (8, 32946)
_BYTE_CODERS = (5, 32773, 34925, 50000)  # LZW, PackBits, LZMA, Zstandard: blind to what the bytes are
_PREDICTING = (5, *_DEFLATE, 34925, 50000)  # coders that a predictor is defined for
_ROWS_AT_ONCE = 64


@dataclass(frozen=True)
class _Layout:
    """Of a TIFF file: byte order, 64-bit offsets or not, and the entries of its first directory as stored."""

    order: Literal["<", ">"]
    big: bool
    entries: tuple[tuple[int, int, int, bytes], ...]  # tag, type, count, value or its offset
    following: int
    data: bytes

    def numbers(self, tag: int, default: tuple[int, ...] = ()) -> tuple[int, ...]:
        for entry_tag, kind, count, value in self.entries:
            if entry_tag == tag:
                if kind not in _TYPES:
                    raise ImageError(f"the picture is damaged: its TIFF tag {tag} has type {kind}")
                size = struct.calcsize("=" + _TYPES[kind]) * count
                if size > len(value):
                    (start,) = struct.unpack(self.order + ("Q" if self.big else "I"), value)
                    value = self.data[start : start + size]
                if len(value) < size:
                    raise ImageError(f"the picture is damaged: its TIFF tag {tag} lies outside the file")
                return struct.unpack(f"{self.order}{count}{_TYPES[kind]}", value[:size])
        return default

    def number(self, tag: int, default: int | None = None) -> int:
        values = self.numbers(tag, () if default is None else (default,))
        if not values:
            raise ImageError(f"the picture is damaged: it lacks TIFF tag {tag}")
        return values[0]


@dataclass(frozen=True)
class _Samples:
    """How the samples are stored."""

    width: int
    height: int
    channels: int
    bits: int
    format: int
    photometric: int
    extra: tuple[int, ...]
    planar: bool
    compression: int
    predictor: int

    @property
    def described(self) -> str:
        """In words, for messages."""
        colour = _COLOURS.get(self.photometric, f"photometric interpretation {self.photometric}")
        return (
            f"a TIFF file of {self.bits}-bit {_NAMES.get(self.format, 'samples')} ({colour}, {self.channels} channels)"
        )


def is_misread(image: TiffImagePlugin.TiffImageFile) -> bool:
    """Return whether Pillow opens a file but takes its samples for others: those of planes deeper than 8 bits."""
    bits = image.tag_v2.get(_BITS, (1,))
    return image.tag_v2.get(_PLANAR, 1) == 2 and bool(max(np.atleast_1d(bits).tolist()) > 8)


def rewritten(file: BinaryIO) -> io.BytesIO:
    """Return a TIFF file with the same picture in samples of 8 bits, uncompressed. Warns of what that loses.

    Raises ImageError for what has no defined black and white (signed samples), for other colours than grey and RGB, and
    for damaged files; LimitError for pictures that are too large.
    """
    data = file.read()
    layout = _layout(data)
    samples = _samples(layout)
    if samples.format == 2:
        raise ImageError(
            f"{samples.described}: signed samples have no defined black and white; convert them to unsigned ones"
        )
    if samples.format not in (1, 3) or samples.photometric not in (0, 1, 2) or not 1 <= samples.bits <= 64:
        raise ImageError(f"{samples.described} is not supported; convert it to 8 or 16 bits grey or RGB")
    colours = 3 if samples.photometric == 2 else 1
    if samples.channels < colours:
        raise ImageError(f"the picture is damaged: {samples.described}")
    values = _levels(np.concatenate(_planes(layout, samples), axis=2), samples)
    if samples.photometric == 0:
        values[:, :, 0] = 255 - values[:, :, 0]
    alpha = samples.extra[:1] if samples.channels > colours and samples.extra[:1] in ((1,), (2,)) else ()
    kept = colours + len(alpha)
    return _with_samples(layout, np.ascontiguousarray(values[:, :, :kept]), 2 if colours == 3 else 1, alpha)


def _layout(data: bytes) -> _Layout:
    try:
        orders: dict[bytes, Literal["<", ">"]] = {b"II": "<", b"MM": ">"}
        order = orders[data[:2]]
        big = struct.unpack(order + "H", data[2:4])[0] == 43
        if big and order == ">":
            raise ImageError(
                "a BigTIFF file in big-endian order is not supported; convert it to little-endian or to TIFF"
            )
        (start,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
        (count,) = struct.unpack_from(order + ("Q" if big else "H"), data, start)
        entry = struct.Struct(order + ("HHQ8s" if big else "HHI4s"))
        first = start + (8 if big else 2)
        if first + count * entry.size > len(data):
            raise ImageError("the picture is damaged: its TIFF directory lies outside the file")
        entries = tuple(entry.unpack_from(data, first + i * entry.size) for i in range(count))
        end = first + count * entry.size
        (following,) = struct.unpack_from(order + ("Q" if big else "I"), data, end)
    except (KeyError, struct.error):
        raise ImageError("the picture is damaged: its TIFF directory cannot be read") from None
    return _Layout(order, big, entries, following, data)


def _samples(layout: _Layout) -> _Samples:
    channels = layout.number(_CHANNELS, 1)
    bits = layout.numbers(_BITS, (1,))
    formats = layout.numbers(_FORMAT, (1,))
    if len(set(bits)) != 1 or len(set(formats)) != 1:
        raise ImageError(
            f"a TIFF file of channels of {' and '.join(map(str, sorted(set(bits))))} bits is not supported"
        )
    samples = _Samples(
        layout.number(_WIDTH), layout.number(_HEIGHT), channels, bits[0], formats[0], layout.number(_PHOTOMETRIC, 0),
        layout.numbers(_EXTRA), layout.number(_PLANAR, 1) == 2 and channels > 1, layout.number(_COMPRESSION, 1),
        layout.number(_PREDICTOR, 1) if layout.number(_COMPRESSION, 1) in _PREDICTING else 1,
    )  # fmt: skip
    if samples.width < 1 or samples.height < 1 or not 1 <= channels <= 6:
        raise ImageError(f"the picture is damaged: {samples.width} x {samples.height} pixels of {channels} channels")
    if max(samples.width, samples.height) > MAX_SIDE or samples.width * samples.height > MAX_PIXELS:
        raise LimitError(
            f"a picture of {samples.width} x {samples.height} pixels; at most {MAX_SIDE} a side and {MAX_PIXELS} in "
            "all fit"
        )
    if layout.number(_FILL_ORDER, 1) != 1 or samples.compression not in (1, *_DEFLATE, *_BYTE_CODERS):
        raise ImageError(
            f"{samples.described} with compression {samples.compression} and fill order "
            f"{layout.number(_FILL_ORDER, 1)} is not supported; save it without compression"
        )
    whole = samples.bits in ((16, 32, 64) if samples.format == 3 else (8, 16, 32, 64))
    if samples.format == 3 and not whole:
        raise ImageError(f"{samples.described} is not supported; convert it to 16 or 32 bits")
    if samples.predictor not in (1, 2, 3) or (samples.predictor != 1 and not whole):
        raise ImageError(f"{samples.described} with predictor {samples.predictor} is not supported")
    if samples.predictor == 3 and samples.format != 3:
        raise ImageError("the picture is damaged: its integers have a predictor for floating point")
    return samples


def _planes(layout: _Layout, samples: _Samples) -> list[NDArray[Any]]:
    """Return the samples (H, W, C), or (H, W, 1) of every plane, as stored: unsigned integers or floating point."""
    tiled = bool(layout.numbers(_TILES))
    width, height = (
        (layout.number(_TILE_WIDTH), layout.number(_TILE_HEIGHT))
        if tiled
        else (samples.width, min(layout.number(_ROWS, samples.height), samples.height))
    )
    if not (1 <= width <= MAX_SIDE + 1 and 1 <= height <= MAX_SIDE + 1):
        raise ImageError(f"the picture is damaged: it is stored in parts of {width} x {height} pixels")
    offsets = layout.numbers(_TILES if tiled else _STRIPS)
    lengths = layout.numbers(_TILE_BYTES if tiled else _STRIP_BYTES)
    across, down = -(-samples.width // width), -(-samples.height // height)
    planes, channels = (samples.channels, 1) if samples.planar else (1, samples.channels)
    if len(offsets) < across * down * planes or len(lengths) < across * down * planes:
        if len(offsets) != 1 or across * down * planes != 1 or lengths:
            raise ImageError(f"the picture is damaged: it has {len(offsets)} parts, expected {across * down * planes}")
        lengths = (len(layout.data) - offsets[0],)
    result = []
    for plane in range(planes):
        values = np.zeros((samples.height, samples.width, channels), dtype=_type_of(samples))
        for index in range(across * down):
            top, left = index // across * height, index % across * width
            rows = height if tiled else min(height, samples.height - top)
            at = plane * across * down + index
            part = _part(layout, samples, offsets[at], lengths[at], rows, width, channels)
            values[top : top + rows, left : left + width] = part[: samples.height - top, : samples.width - left]
        result.append(values)
    return result


def _type_of(samples: _Samples) -> np.dtype[Any]:
    if samples.format == 3:
        return np.dtype(f"f{samples.bits // 8}")
    return np.dtype(f"u{next(size for size in (1, 2, 4, 8) if 8 * size >= samples.bits)}")


def _part(
    layout: _Layout, samples: _Samples, offset: int, length: int, rows: int, width: int, channels: int
) -> NDArray[Any]:
    """Return a strip or a tile: samples (rows, width, channels)."""
    row_bytes = -(-width * channels * samples.bits // 8)
    stored = layout.data[offset : offset + length]
    if samples.compression == 1:
        raw = stored
    elif samples.compression in _DEFLATE:
        raw = _inflated(stored, rows * row_bytes)
    else:
        raw = _decoded(stored, samples.compression, rows, row_bytes)
    if len(raw) < rows * row_bytes:
        raise ImageError(f"the picture is damaged: a part has {len(raw)} bytes, expected {rows * row_bytes}")
    lines = np.frombuffer(raw, dtype=np.uint8, count=rows * row_bytes).reshape(rows, row_bytes)
    if samples.predictor == 3:
        return _unpredicted_floats(lines, samples, width, channels)
    if samples.bits in (8, 16, 32, 64):
        values = lines.view(_type_of(samples).newbyteorder(layout.order)).reshape(rows, width, channels)
        if samples.predictor == 2:
            whole = values.view(np.dtype(f"u{samples.bits // 8}").newbyteorder(layout.order))
            summed = np.cumsum(whole, axis=1, dtype=f"u{samples.bits // 8}")
            return summed.view(_type_of(samples))
        return values
    return _unpacked(lines, samples.bits, width * channels).reshape(rows, width, channels)


def _inflated(stored: bytes, size: int) -> bytes:
    try:
        return zlib.decompressobj().decompress(stored, size)
    except zlib.error as error:
        raise ImageError(f"the picture is damaged: {error}") from None


def _decoded(stored: bytes, compression: int, rows: int, row_bytes: int) -> bytes:
    """Decode a strip by Pillow, which takes it for a picture of 8-bit grey samples."""
    tags = {_WIDTH: row_bytes, _HEIGHT: rows, _BITS: 8, _COMPRESSION: compression, _PHOTOMETRIC: 1, _STRIPS: 0,
            _CHANNELS: 1, _ROWS: rows, _STRIP_BYTES: len(stored)}  # fmt: skip
    tags[_STRIPS] = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    head = b"II*\0" + struct.pack("<IH", 8, len(tags))
    try:
        image = TiffImagePlugin.TiffImageFile(io.BytesIO(head + entries + bytes(4) + stored))
        return image.tobytes()
    except (OSError, SyntaxError, ValueError, RuntimeError, KeyError, TypeError) as error:
        raise ImageError(f"the picture is damaged: {error}") from None


def _unpredicted_floats(lines: NDArray[np.uint8], samples: _Samples, width: int, channels: int) -> NDArray[Any]:
    """Return the floating-point samples of rows whose bytes are grouped by significance, and stored as differences."""
    size, rows = samples.bits // 8, len(lines)
    summed = np.cumsum(lines.reshape(rows, -1, channels), axis=1, dtype=np.uint8).reshape(rows, size, width * channels)
    values = np.ascontiguousarray(summed.transpose(0, 2, 1)).view(_type_of(samples).newbyteorder(">"))
    return values.reshape(rows, width, channels)


def _unpacked(lines: NDArray[np.uint8], bits: int, count: int) -> NDArray[Any]:
    """Return (rows, count) of unsigned integers from rows of packed ones, the top bit first."""
    size = next(size for size in (1, 2, 4, 8) if 8 * size >= bits)
    values = np.empty((len(lines), count), dtype=f">u{size}")
    for top in range(0, len(lines), _ROWS_AT_ONCE):
        block = lines[top : top + _ROWS_AT_ONCE]
        single = np.unpackbits(block, axis=1, count=count * bits).reshape(len(block), count, bits)
        padded = np.zeros((len(block), count, 8 * size), dtype=np.uint8)
        padded[:, :, 8 * size - bits :] = single
        values[top : top + _ROWS_AT_ONCE] = np.packbits(padded, axis=2).view(f">u{size}")[:, :, 0]
    return values


def _levels(values: NDArray[Any], samples: _Samples) -> NDArray[np.uint8]:
    if samples.bits > 8 and samples.format == 1:
        warn_of_depth(samples.bits)
        warn_of_darkness(values, 2**samples.bits - 1)
    if samples.format == 3:
        warnings.warn("floating-point samples are reduced to 8 bits", stacklevel=2)
        return eight_bits(values.astype(np.float32))
    if samples.bits > 16:  # what lies below 16 bits decides no level
        values = values >> values.dtype.type(samples.bits - 16)
    white = 2 ** min(samples.bits, 16) - 1
    levels: NDArray[np.uint8] = ((values.astype(np.uint32) * 255 + white // 2) // white).astype(np.uint8)
    return levels


def _with_samples(layout: _Layout, values: NDArray[np.uint8], photometric: int, extra: tuple[int, ...]) -> io.BytesIO:
    """Return the file with its samples (H, W, C) replaced."""
    height, width, channels = values.shape
    start = len(layout.data) + -len(layout.data) % 2
    new: dict[int, tuple[int, list[int]]] = {
        _WIDTH: (4, [width]), _HEIGHT: (4, [height]), _COMPRESSION: (3, [1]), _PHOTOMETRIC: (3, [photometric]),
        _STRIPS: (4, [start]), _CHANNELS: (3, [channels]), _ROWS: (4, [height]), _STRIP_BYTES: (4, [values.size]),
        _PLANAR: (3, [1]),
    }  # fmt: skip
    if extra:
        new[_EXTRA] = (3, list(extra))
    word = 8 if layout.big else 4
    bits = struct.pack(f"{layout.order}{channels}H", *[8] * channels)
    bits_at = start + values.size + -values.size % 2
    kept = {tag: (kind, count, value) for tag, kind, count, value in layout.entries if tag not in _REPLACED}
    for tag, (kind, numbers) in new.items():
        kept[tag] = (kind, 1, struct.pack(f"{layout.order}{_TYPES[kind]}", *numbers).ljust(word, b"\0"))
    pointer = struct.pack(layout.order + ("Q" if layout.big else "I"), bits_at)
    kept[_BITS] = (3, channels, bits.ljust(word, b"\0") if len(bits) <= word else pointer)
    directory_at = bits_at + 8
    entry = layout.order + ("HHQ8s" if layout.big else "HHI4s")
    directory = struct.pack(layout.order + ("Q" if layout.big else "H"), len(kept))
    directory += b"".join(struct.pack(entry, tag, *kept[tag]) for tag in sorted(kept))
    directory += struct.pack(layout.order + ("Q" if layout.big else "I"), layout.following)
    file = io.BytesIO()
    position = 8 if layout.big else 4
    file.write(layout.data[:position] + struct.pack(layout.order + ("Q" if layout.big else "I"), directory_at))
    file.write(layout.data[position + word :])
    file.seek(start)
    file.write(values.tobytes())
    file.seek(bits_at)
    file.write(bits.ljust(8, b"\0"))
    file.write(directory)
    file.seek(0)
    return file
