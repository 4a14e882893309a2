"""EXIF data, TIFF files and JPEG files built byte by byte, as cameras and other programs write them."""

import io
import struct

from PIL import Image

ARTIST, DESCRIPTION, ORIENTATION, XMP = 315, 270, 274, 700
JOSE = "José".encode()
MAKER_NOTE = b"MAKER\0" + bytes(range(200)) * 2
THUMBNAIL = b"\xff\xd8" + b"thumbnail" * 20 + b"\xff\xd9"
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 7: 1, 16: 8}


def numbers(order, code, *values):
    return struct.pack(f"{order}{len(values)}{code}", *values)


def directory(order, entries, start, following=0):
    """(tag, type, value bytes) to a plain directory at ``start``; a callable value is told where it comes to lie."""
    table, body = struct.pack(order + "H", len(entries)), b""
    behind = start + 2 + 12 * len(entries) + 4
    for tag, kind, value in entries:
        here = behind + len(body)
        if callable(value):
            table += struct.pack(order + "HHII", tag, 4, 1, here)
            body += value(here)
            continue
        count = len(value) // _SIZES.get(kind, 1) if kind in _SIZES else 1
        table += struct.pack(order + "HHI", tag, kind, count)
        if len(value) <= 4:
            table += value.ljust(4, b"\0")
        else:
            table += struct.pack(order + "I", here)
            body += value + bytes(len(value) % 2)
    link = behind + len(body) if following is None else following
    return table + struct.pack(order + "I", link) + body


def exif_of_a_camera(order="<", orientation=(3, 6)):
    """With a UTF-8 artist, a private tag of unknown type, a maker note with its position in it, GPS, a thumbnail."""

    def exif(at):
        note_at = at + 2 + 24 + 4
        note = MAKER_NOTE + struct.pack(order + "I", note_at)
        return directory(order, [(0x927C, 7, note),
                                 (0xA002, 4, numbers(order, "I", 9))], at)  # fmt: skip

    def gps(at):
        return directory(order, [(1, 2, b"N\0"), (2, 5, numbers(order, "I", 48, 1, 8, 1, 0, 1))], at)

    kind, value = orientation
    entries = [
        (271, 2, b"A camera\0"), (ORIENTATION, kind, numbers(order, {1: "B", 3: "H", 4: "I"}[kind], value)),
        (ARTIST, 2, JOSE + b"\0"), (0x8769, 4, exif), (0x8825, 4, gps), (0xC999, 99, b"\1\2\3\4"),
    ]  # fmt: skip
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8)
    first = directory(order, entries, 8, None)
    at = 8 + len(first)
    second = directory(order, [(259, 3, numbers(order, "H", 6)), (513, 4, numbers(order, "I", at + 2 + 36 + 4)),
                               (514, 4, numbers(order, "I", len(THUMBNAIL)))], at)  # fmt: skip
    return head + first + second + THUMBNAIL


def tiff(pixels, order="<", extra=()):
    """An uncompressed RGB TIFF file of ``pixels`` (H, W, 3) with further (tag, type, value) in its directory."""
    height, width = pixels.shape[:2]
    data = pixels.tobytes()

    def short(value):
        return numbers(order, "H", value)

    entries = [
        (256, 3, short(width)), (257, 3, short(height)), (258, 3, numbers(order, "H", 8, 8, 8)), (259, 3, short(1)),
        (262, 3, short(2)), (273, 4, numbers(order, "I", 8)), (277, 3, short(3)), (278, 3, short(height)),
        (279, 4, numbers(order, "I", len(data))), *extra,
    ]  # fmt: skip
    entries.sort(key=lambda entry: entry[0])
    start = 8 + len(data) + len(data) % 2
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, start)
    return head + data + bytes(len(data) % 2) + directory(order, entries, start)


def segment(marker, content):
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def jpeg(pixels, *segments):
    """A JPEG file with segments behind its start."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=95)
    data = file.getvalue()
    return data[:2] + b"".join(segments) + data[2:]


def png(pixels, *chunks):
    """A PNG file with chunks (type, content, or with a third, the CRC) in front of its pixels."""
    import zlib

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    data = file.getvalue()
    inserted = b""
    for kind, content, *crc in chunks:
        inserted += struct.pack(">I", len(content)) + kind + content
        inserted += struct.pack(">I", crc[0] if crc else zlib.crc32(kind + content))
    return data[:33] + inserted + data[33:]
