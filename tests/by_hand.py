"""Picture files made byte by byte, so that tests of readers trust no other program's writer."""

import struct
import zlib

import numpy as np

II, MM = "<", ">"


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(samples, bits, colour, *chunks):
    """A PNG file of samples (H, W, C) or (H, W) with this depth and colour type; ``chunks``: (type, data) pairs."""
    samples = np.atleast_3d(np.asarray(samples))
    height, width, channels = samples.shape
    rows = packed(samples.reshape(height, width * channels), bits)
    raw = b"".join(b"\0" + row for row in rows)
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)), *chunks]
    parts += [(b"IDAT", zlib.compress(raw)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(kind, data) for kind, data in parts)


def packed(rows, bits, order=">"):
    """The bytes of each row of unsigned integers, the top bit first."""
    if bits in (8, 16, 32, 64):
        return [np.asarray(row).astype(f"{order}u{bits // 8}").tobytes() for row in rows]
    single = (np.asarray(rows).astype(np.int64)[:, :, None] >> np.arange(bits - 1, -1, -1)) & 1
    return [np.packbits(row.astype(np.uint8).ravel()).tobytes() for row in single]


def tiff(parts, tags, order=II, big=False):
    """A TIFF file whose strips (or tiles) are ``parts``; ``tags``: numbers, tuples of numbers, or bytes by tag."""
    places, data, start = [], b"", 16
    for part in parts:
        places.append(start + len(data))
        data += part + bytes(len(part) % 2)
    where, lengths = (324, 325) if 322 in tags else (273, 279)
    tags = {where: tuple(places), lengths: tuple(map(len, parts)), **tags}
    word, count = (8, "Q") if big else (4, "H")
    directory_at = start + len(data)
    extra_at = directory_at + (8 if big else 2) + len(tags) * (20 if big else 12) + word
    directory, extra = struct.pack(order + count, len(tags)), b""
    for tag, value in sorted(tags.items()):
        if isinstance(value, bytes):
            kind, number, raw = 7, len(value), value
        else:
            value = value if isinstance(value, tuple) else (value,)
            kind = 4 if tag in (256, 257, 273, 278, 279, 324, 325) else 3
            number, raw = len(value), struct.pack(order + ("I" if kind == 4 else "H") * len(value), *value)
        if len(raw) > word:
            extra += bytes(len(extra) % 2)
            pointer = struct.pack(order + ("Q" if big else "I"), extra_at + len(extra))
            extra, raw = extra + raw, pointer
        directory += struct.pack(order + ("HHQ" if big else "HHI"), tag, kind, number) + raw.ljust(word, b"\0")
    directory += bytes(word)
    mark = b"II" if order == II else b"MM"
    if big:
        head = mark + struct.pack(order + "HHHQ", 43, 8, 0, directory_at)
    else:
        head = (mark + struct.pack(order + "HI", 42, directory_at)).ljust(16, b"\0")
    return head + data + directory + extra


def plain_tiff(samples, bits, photometric, order=II, big=False, **more):
    """An uncompressed TIFF file in one strip of unsigned samples (H, W) or (H, W, C). ``more``: tags, as t339=2."""
    samples = np.atleast_3d(np.asarray(samples))
    height, width, channels = samples.shape
    data = b"".join(packed(samples.reshape(height, width * channels), bits, order))
    return tiff([data], base_tags(width, height, channels, bits, photometric) | tags_of(more), order, big)


def base_tags(width, height, channels, bits, photometric):
    return {256: width, 257: height, 258: (bits,) * channels, 259: 1, 262: photometric, 277: channels, 278: height}


def tags_of(more):
    return {int(name[1:]): value for name, value in more.items()}
