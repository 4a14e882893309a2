"""What is fuzzed: functions of bytes that raise where promptcodec does what it must not. None of them imports torch.

Errors of promptcodec's own are how bad bytes are refused. Any other exception is a finding, as is a broken promise:
that what was read can be written and read again, and that both entropy coders agree.
"""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray

from promptcodec.bitstream import container
from promptcodec.bitstream import rans as coder
from promptcodec.bitstream.tables import FrequencyTables, gaussian_tables, quantise_pmf
from promptcodec.codec.exact import OffsetReader, pack_offsets
from promptcodec.errors import PromptcodecError
from promptcodec.picture.alpha import decode_alpha

SMALL = 2**16  # bytes or pixels beyond which what is only slow is left out

_GAUSSIANS = gaussian_tables()
_TINY = FrequencyTables(
    tuple(np.array(t, np.int32) for t in ([2**24 - 1, 1], [1, 2**24 - 1], [2**23, 2**22, 2**22], [1, 1, 2**24 - 2])),
    np.array([0, -3, 5, 2**20], np.int32),
)


def container_target(data: bytes) -> None:
    """Parser: header, preview, whole file, alpha plane; what it took apart packs into a file that reads the same."""
    for limit in (container.MAX_PIXELS, None):
        try:
            header = container.read_header(io.BytesIO(data), limit)
        except PromptcodecError:
            continue
        if limit is not None and header.width * header.height > limit:
            raise AssertionError(f"{header} is beyond the limit")
    preview = _preview(data)
    try:
        file = container.unpack(data)
    except PromptcodecError as error:
        _is_one_line(error)
        return
    if preview != file.preview:
        raise AssertionError("the preview from the first part of a file is another one")
    if file.header != header:
        raise AssertionError(f"two readings of a header: {file.header} and {header}")
    metadata = file.metadata
    if metadata.alpha is not None and file.header.width * file.header.height <= SMALL:
        try:
            plane = decode_alpha(metadata.alpha, file.header.height, file.header.width)
        except PromptcodecError:
            pass
        else:
            if plane.shape != (file.header.height, file.header.width):
                raise AssertionError(f"an alpha plane of {plane.shape} for {file.header}")
    if sum(len(part or b"") for part in (metadata.icc, metadata.exif, metadata.xmp)) <= SMALL:
        again = container.unpack(container.pack(file))
        if again != file:
            raise AssertionError("what was read does not survive being written")


def _preview(data: bytes) -> container.Preview | None:
    try:
        return container.read_preview(io.BytesIO(data))[1]
    except PromptcodecError as error:
        _is_one_line(error)
        return None


def stream_target(data: bytes) -> None:
    """Entropy decoder: any bytes as a stream of symbols of any tables; both coders must come to the same end."""
    if len(data) < 4:
        return
    tables = _TINY if data[0] & 1 else _GAUSSIANS
    count = int.from_bytes(data[1:3], "little") % 4096
    bins = _bins(count, data[0] // 2, data[3], tables)
    steps = np.array_split(bins, 2)
    ends = [_decoded(data[4:], steps, tables, backend) for backend in coder.BACKENDS]
    if any(end != ends[0] for end in ends):
        raise AssertionError(f"the coders {', '.join(coder.BACKENDS)} disagree")


def _bins(count: int, first: int, step: int, tables: FrequencyTables) -> NDArray[np.uint8]:
    """Bins of ``count`` symbols, three different ones at most: wide tables cost the pure-Python coder time."""
    return ((first + np.arange(count) % 3 * step) % len(tables)).astype(np.uint8)


def _decoded(stream: bytes, steps: list[NDArray[np.uint8]], tables: FrequencyTables, backend: str) -> bytes | None:
    try:
        decoder = coder.Decoder(stream, backend)
        symbols = [decoder.pull(bins, tables).tobytes() for bins in steps]
        decoder.finish()
    except PromptcodecError as error:
        _is_one_line(error)
        return None
    return b"".join(symbols)


def coding_target(data: bytes) -> None:
    """Entropy encoder: any symbols come back, from the same bytes of both coders."""
    if len(data) < 2:
        return
    tables = _TINY if data[0] & 1 else _GAUSSIANS
    width = 4 if data[0] & 2 else 1
    body = data[1 : 1 + len(data[1:]) // width * width]
    symbols = np.frombuffer(body, "<i4" if width == 4 else "<i1").astype(np.int32)
    bins = _bins(len(symbols), data[0] // 4, data[0] // 16, tables)
    streams = []
    for backend in coder.BACKENDS:
        try:
            streams.append(coder.encode([(symbols, bins, tables)], backend))
        except PromptcodecError:
            streams.append(None)
    if any(stream != streams[0] for stream in streams):
        raise AssertionError(f"the coders {', '.join(coder.BACKENDS)} write different bytes")
    if streams[0] is not None and _decoded(streams[0], [bins], tables, coder.DEFAULT_BACKEND) != symbols.tobytes():
        raise AssertionError("symbols do not come back")


def tables_target(data: bytes) -> None:
    """Frequency tables as a hostile model file may hold them, and border offsets."""
    if len(data) < 4:
        return
    split = data[0]
    numbers = np.frombuffer(data[1 : 1 + (len(data) - 1) // 4 * 4], "<i4").astype(np.int32)
    lengths, rest = numbers[: split % 9], numbers[split % 9 :]
    offsets, flat = rest[: split // 9 % 9], rest[split // 9 % 9 :]
    try:
        tables = FrequencyTables.from_arrays(flat, lengths, offsets)
    except PromptcodecError:
        pass
    else:
        if any(int(table.sum(dtype=np.int64)) != 2**24 or table.min() < 1 for table in tables.frequencies):
            raise AssertionError("tables that are none were taken")
    try:
        cdf = quantise_pmf(np.frombuffer(data[: len(data) // 4 * 4], "<f4"))
    except PromptcodecError:
        pass
    else:
        if cdf[0] != 0 or cdf[-1] != 2**24 or (np.diff(cdf) < 1).any():
            raise AssertionError("cumulative frequencies do not rise from 0 to 2^24")
    for sparse in (False, True):
        _read_offsets(data[1:], split, sparse)


def _read_offsets(packed: bytes, number: int, sparse: bool) -> None:
    try:
        reader = OffsetReader(packed, sparse)
        taken = reader.take(number) + reader.take(1)
    except PromptcodecError as error:
        _is_one_line(error)
        return
    if len(taken) > number + 1:
        raise AssertionError("more offsets than were asked for")
    if reader.finish() and len(taken) == number + 1:
        again = OffsetReader(pack_offsets(taken, sparse), sparse)
        if again.take(number + 1) != taken or not again.finish():
            raise AssertionError("offsets do not survive being packed")


def _is_one_line(error: PromptcodecError) -> None:
    if "\n" in str(error):
        raise AssertionError(f"an error of several lines: {error}")


TARGETS = {
    "container": container_target,
    "stream": stream_target,
    "coding": coding_target,
    "tables": tables_target,
}
