"""Writes the seeds that fuzzing begins with: ``python fuzz/make_corpus.py``; runs of the fuzzer add to them."""

import zlib
from pathlib import Path

import numpy as np

from promptcodec.bitstream import rans as coder
from promptcodec.bitstream.container import (
    GAIN_MAP,
    REFINEMENT,
    SAMPLE_FORMAT,
    Header,
    Metadata,
    Preview,
    PtcFile,
    Tile,
    pack,
)  # fmt: skip
from promptcodec.bitstream.container import _chunk as chunk
from promptcodec.bitstream.contents import AdapterRecord
from promptcodec.bitstream.tables import gaussian_tables
from promptcodec.codec.exact import pack_offsets
from promptcodec.picture.alpha import encode_alpha

FOLDER = Path(__file__).parent / "corpus"


def files() -> dict[str, bytes]:
    """Small files with every kind of chunk. Their streams are sound, their fingerprints no model's."""
    stream = coder.encode([(np.arange(-3, 4, dtype=np.int32), np.arange(7, dtype=np.uint8), gaussian_tables())])
    tile = Tile(zlib.crc32(stream), b"\0", stream)
    plane = np.add.outer(np.arange(5), np.arange(7)).astype(np.uint8)

    def file(metadata: Metadata | None = None, adapters: tuple[AdapterRecord, ...] = (), **flags: bool) -> bytes:
        metadata = metadata or Metadata()
        header = Header(7, 5, b"12345678", b"abcd", 32_768, alpha=metadata.alpha is not None, **flags)
        return pack(PtcFile(header, (tile,), metadata, adapters))

    tiled = Header(700, 300, b"12345678", b"abcd", 9, tile_width=512, tile_height=256)
    adapter = AdapterRecord("look", b"87654321", b"\x34\x12")
    return {
        "plain": file(),
        "grey": file(grey=True),
        "metadata": file(Metadata(b"icc" * 20, b"II*\0", b"<x/>", source_hash=b"01234567")),
        "alpha": file(Metadata(alpha=encode_alpha(plane))),
        "opaque": file(Metadata(alpha=b"\x00\xff")),
        "tiles": pack(PtcFile(tiled, (tile,) * 4, preview=Preview(7, 3, 5, tile))),
        "adapters": file(adapters=(adapter, AdapterRecord("region", b"11111111"))),
        "reserved": file() + chunk(GAIN_MAP, b"\7\5map") + chunk(REFINEMENT, b"\0\0layer"),
        "samples": file() + chunk(SAMPLE_FORMAT, b"\x0a\x09\x10\x00\x01"),
    }


def streams() -> dict[str, bytes]:
    """Table choice, number of symbols, step of the bins, and a stream that fits."""
    bins = (np.arange(40) % 3 * 3).astype(np.uint8)
    symbols = np.rint(np.sin(np.arange(40)) * 5).astype(np.int32)
    return {"forty": bytes([0, 40, 0, 3]) + coder.encode([(symbols, bins, gaussian_tables())])}


def tables() -> dict[str, bytes]:
    """Two tables with their offsets, and border offsets."""
    numbers = np.array([2, 3, 0, -1, 2**24 - 1, 1, 2**23, 2**22, 2**22], "<i4")
    return {
        "two": bytes([2 + 9 * 2]) + numbers.tobytes(),
        "offsets": bytes([9]) + pack_offsets(b"\0\0\5\0\0\0\7", True),
    }


def main() -> None:
    seeds = {
        "container": files(),
        "stream": streams(),
        "coding": {"few": b"\4" + bytes(range(60)), "wide": b"\x13" + np.arange(-9, 9, dtype="<i4").tobytes()},
        "tables": tables(),
    }
    for target, made in seeds.items():
        (FOLDER / target).mkdir(parents=True, exist_ok=True)
        for name, data in made.items():
            (FOLDER / target / name).write_bytes(data)


if __name__ == "__main__":
    main()
