"""JPEG 2000 files of more than 8 bits, of which Pillow turns the brightest samples black.

Its decoder rounds a channel up before it drops the lower bits, and what reaches 256 starts again at 0.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass

import numpy as np
from PIL import Image

from promptcodec.errors import ImageError
from promptcodec.picture.boxes import boxes, first_box

_START, _SIZES, _CODING, _OF_A_COMPONENT, _TILE = 0xFF4F, 0xFF51, 0xFF52, 0xFF53, 0xFF90
_LUMA_AND_CHROMA = 18  # enumerated colour space sYCC


@dataclass(frozen=True)
class Jpeg2000:
    """What a file says of its samples.

    ``precisions``: bytes that hold the channels' bits (less one) and signs, at ``places``. ``reversible``: the wavelet
    is that of whole numbers. ``mixed``: a channel is coded in a way of its own. ``colour_space``: the number of one
    that has a name, or None. ``icc``: the profile of a JP2 file, or None.
    """

    data: bytes
    places: tuple[int, ...]
    precisions: tuple[int, ...]
    reversible: bool
    mixed: bool
    colour_space: int | None
    icc: bytes | None

    @property
    def bits(self) -> int:
        """Of the deepest channel."""
        return 1 + max(precision & 0x7F for precision in self.precisions)

    @property
    def white(self) -> int:
        """The brightest sample of a picture of one channel, as Pillow scales it to 16 bits."""
        return int(2**self.bits - 1) << max(16 - self.bits, 0)

    def claiming(self, bits: int) -> Image.Image:
        """Open the file as if its channels had ``bits`` bits."""
        changed = bytearray(self.data)
        for place, precision in zip(self.places, self.precisions, strict=True):
            changed[place] = precision & 0x80 | bits - 1
        return Image.open(io.BytesIO(bytes(changed)))


def read_jpeg2000(data: bytes) -> Jpeg2000 | None:
    """Read how a JPEG 2000 file describes its samples; None where its main header is damaged."""
    stream: tuple[int, int] | None = (0, len(data))
    if not data.startswith(b"\xff\x4f\xff\x51"):
        stream = first_box(data, (b"jp2c",))
    if stream is None:
        return None
    start, (space, icc) = stream[0], _colours(data)
    places: tuple[int, ...] = ()
    reversible, mixed, position = True, False, start + 2
    try:
        while True:
            marker, length = struct.unpack_from(">HH", data, position)
            if marker == _SIZES:
                (count,) = struct.unpack_from(">H", data, position + 38)
                places = tuple(position + 40 + 3 * channel for channel in range(count))
            elif marker == _CODING:
                reversible = data[position + 13] == 1
            elif marker == _OF_A_COMPONENT:
                mixed = True
            elif marker == _TILE or length < 2:
                break
            position += 2 + length
        precisions = tuple(data[place] for place in places)
    except (struct.error, IndexError):
        return None
    if not places:
        return None
    return Jpeg2000(data, places, precisions, reversible, mixed, space, icc)


def _colours(data: bytes) -> tuple[int | None, bytes | None]:
    """Return the number of the colour space of a JP2 file, or its ICC profile: what its first description says."""
    header = first_box(data, (b"jp2h",))
    for kind, begin, end in boxes(data, *header) if header is not None else ():
        if kind == b"colr" and end - begin >= 7 and data[begin] in (1, 2):
            if data[begin] == 2:
                return None, data[begin + 3 : end]
            return int.from_bytes(data[begin + 3 : begin + 7], "big"), None
    return None, None


def reduced(file: Jpeg2000) -> Image.Image:
    """Return a picture of more than 8 bits with 8. Raises ImageError for kinds that cannot be told right.

    With the wavelet of real numbers the decoder scales by what a file claims, so that a claim of 8 bits does. With that
    of whole numbers a claim of one bit more adds half of the old range: what wrapped around is far above the rest.
    """
    if len(set(file.precisions)) != 1 or file.mixed or file.precisions[0] & 0x80 or file.bits > 16:
        raise ImageError(
            "a JPEG 2000 file of more than 8 bits whose channels are signed, of different depths or coded differently "
            "is not supported; convert it to PNG or TIFF"
        )
    if not file.reversible:
        return file.claiming(8)
    if file.colour_space == _LUMA_AND_CHROMA:
        raise ImageError(
            "a lossless JPEG 2000 file of luma and chroma of more than 8 bits is not supported; convert it to PNG"
        )
    image, shifted = Image.open(io.BytesIO(file.data)), file.claiming(file.bits + 1)
    image.load()
    pixels = np.array(image)
    pixels[(pixels == 0) & (np.asarray(shifted) >= 128)] = 255
    image.paste(Image.fromarray(pixels, image.mode))
    return image
