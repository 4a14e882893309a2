"""The functions of ``import promptcodec``."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from promptcodec.bitstream.container import HEADER_BYTES, MAX_PIXELS, VERSION, PtcReader, read_header, read_preview
from promptcodec.bitstream.contents import Header
from promptcodec.bitstream.tiling import Rect
from promptcodec.codec.budget import DEFAULT_MEMORY
from promptcodec.errors import ModelMismatchError
from promptcodec.picture.file_objects import can_seek, checked, read_all, read_start
from promptcodec.picture.metadata_facts import metadata_facts
from promptcodec.store.shipped import DEFAULT, find_model, model_for, shipped_models
from promptcodec.store.versions import described
from promptcodec.system.bounded_cache import BoundedCache

if TYPE_CHECKING:
    import torch
    from PIL import Image

    from promptcodec.codec.adapters import MapSource
    from promptcodec.codec.codec import Codec
    from promptcodec.model.effort import Effort
    from promptcodec.model.inference.precision import Precision
    from promptcodec.picture.read import Source
    from promptcodec.steer.adapter_file import StoredAdapter
    from promptcodec.store.model_file import StoredModel

PREVIEW_SIDE = 256  # pixels of the longer side of a preview that a file does not hold

File = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO

MOST_CODECS = 8  # that stay in memory

_loading: BoundedCache[tuple[object, ...], Codec] = BoundedCache(1)


def load(
    model: str | Path | None = None, device: str | torch.device = "cpu", precision: Precision = "float32"
) -> Codec:
    """Load a codec: of the default model, of a shipped one by name, or of a model file.

    It is loaded once a process, device and precision, and again where the file has changed; the last 8 stay in memory.
    ``precision``: "float32", "bfloat16" or "auto", of analysis and synthesis; see ``Codec``. Raises ModelMismatchError
    where there is no such model, UsageError where there is no such device.
    """
    name = str(model or DEFAULT)
    shipped = shipped_models().get(name)
    path = Path(shipped["path"]) if shipped else find_model(name)
    facts = path.stat()
    return _codec(path, (facts.st_ino, facts.st_mtime_ns, facts.st_size), str(device), precision)


def _load_once(path: Path, version: tuple[int, ...], device: str, precision: Precision) -> Codec:
    """Load a codec in one thread, while others that want one wait; those that wanted the same get it too."""

    def codec() -> Codec:
        from promptcodec.model.inference.device import check_device
        from promptcodec.store.model_file import load_model

        check_device(device)
        return codec_of(load_model(path, device), device, precision)

    return _loading.get((path, version, device, precision), codec)


_codec = lru_cache(MOST_CODECS)(_load_once)


def codec_of(model: StoredModel, device: str | torch.device = "cpu", precision: Precision = "float32") -> Codec:
    """Make a codec of a model in memory, with the adapters that ship for it. ``load`` is for models in files."""
    from promptcodec.codec.codec import Codec
    from promptcodec.model.inference.backend import TorchBackend

    backend = TorchBackend(model.network, model.hyper_tables, model.probability, model.pixels, device, precision)
    try:
        from promptcodec.steer.library import AdapterLibrary
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("promptcodec.steer"):
            raise
        return Codec(backend)  # an installation without adapters
    return Codec(backend, AdapterLibrary(model.network, device))


def encode(
    image: Source,
    quality: float | None = None,
    *,
    target_size: float | None = None,
    target_bpp: float | None = None,
    target_psnr: float | None = None,
    target_ms_ssim: float | None = None,
    target_ssimulacra2: float | None = None,
    roi: MapSource | None = None,
    look: float | None = None,
    effort: int | Effort = 0,
    adapters: Sequence[str | Path | StoredAdapter] = (),
    settings: Mapping[str, float] | None = None,
    maps: Mapping[str, MapSource] | None = None,
    strip: bool = False,
    memory: int = DEFAULT_MEMORY,
    preview: bool | None = None,
    verify: bool = False,
    progress: Callable[[int, int], None] | None = None,
    model: str | Path | None = None,
    device: str | torch.device = "cpu",
    precision: Precision = "float32",
) -> bytes:
    """Compress a picture into the bytes of a .ptc file.

    ``image``: a path, file object, bytes, PIL image, NumPy array or tensor. ``quality``: 0 (smallest) to 100 (best), 50
    by default. Instead, one target may be given: ``target_size`` in bytes or ``target_bpp`` in bits per pixel, which
    the file comes close to and never exceeds, or ``target_psnr`` in dB, ``target_ms_ssim`` or ``target_ssimulacra2``,
    which the decoded picture reaches.

    ``roi``: what matters most, a grey picture, array or mask of any size, or ``x,y,w,h``. ``look``: 0 (true to the
    pixels) to 1 (pleasing), for decoders that are told no other. ``effort``: 0 to 10, how much time may be spent on a
    smaller file of the same quality; any decoder opens it. ``adapters``, ``settings`` and ``maps``: further ones, see
    ``Codec.encode``, which has ``strip``, ``memory``, ``preview``, ``verify`` and ``progress`` too. ``model``,
    ``device`` and ``precision``: see ``load``.

    Raises ImageError, LimitError, UsageError, ModelMismatchError, and TargetError where a target is out of this
    picture's range.
    """
    target, targets = None, (target_size, target_bpp, target_psnr, target_ms_ssim, target_ssimulacra2)
    if any(value is not None for value in targets):
        from promptcodec.codec.search import one_target

        target = one_target(*targets)
    return load(model, device, precision).encode(
        image, quality, target=target, adapters=adapters,
        settings=settings, roi=roi, look=look, maps=maps, strip=strip, effort=effort, memory=memory, preview=preview,
        verify=verify, progress=progress,
    )  # fmt: skip


def decode(
    file: File,
    *,
    look: float | None = None,
    crop: tuple[int, int, int, int] | None = None,
    max_pixels: int | None = MAX_PIXELS,
    adapters: Sequence[str | Path | StoredAdapter] = (),
    settings: Mapping[str, float] | None = None,
    progress: Callable[[int, int], None] | None = None,
    device: str | torch.device = "cpu",
    precision: Precision = "float32",
) -> Image.Image:
    """Decode the picture in a .ptc file (path, bytes or file object), with the shipped model that it names.

    ``look``: 0 (true to the pixels) to 1 (pleasing), whatever the file says; ``settings`` sets others anew that the
    file leaves to its decoder. ``crop``: (x, y, width, height) of the part that is wanted; only the tiles there and
    those around them are read. ``max_pixels``: larger pictures are refused before memory is taken; None trusts the
    file. ``adapters``: files, for pictures that need others than those of the package. ``progress`` is told how many
    tiles are done, and of how many. ``device`` and ``precision``: see ``load``.

    Raises FormatError, LimitError, UsageError, and ModelMismatchError where the model is not shipped with this release
    or an adapter is missing.
    """
    part = None if crop is None else Rect(*crop)
    with opened(file, max_pixels) as reader:
        return codec_for(reader.header, device, precision).decode(
            reader, adapters=adapters, settings=settings, look=look, max_pixels=max_pixels, crop=part, progress=progress
        )


def preview(
    file: File,
    *,
    device: str | torch.device = "cpu",
    max_pixels: int | None = MAX_PIXELS,
    codec: Codec | None = None,
    precision: Precision = "float32",
) -> Image.Image:
    """Decode the picture in small, 256 pixels on its longer side.

    Of a file that holds a preview only its first part is read, and the rest may be missing; others are decoded as a
    whole. ``codec``: that of the file's model, where it is not shipped. ``precision``: see ``load``. Raises as
    ``decode`` does.
    """
    from promptcodec.picture.write import to_pil

    with _seekable(file, max_pixels) as stream:
        begin = stream.tell()
        header, small = read_preview(stream, max_pixels)
        codec = codec or codec_for(header, device, precision)
        if small is not None:
            return to_pil(codec.decode_preview(header, small))
        stream.seek(begin)
        image = codec.decode(PtcReader(stream, max_pixels))
    image.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE))
    return image


def codec_for(file: bytes | Header, device: str | torch.device = "cpu", precision: Precision = "float32") -> Codec:
    """Load the codec of the shipped model that a file names. Raises ModelMismatchError where there is none."""
    header = file if isinstance(file, Header) else read_header(file, None)
    return load(model_of(header), device, precision)


def model_of(header: Header) -> Path:
    """Return the file of the shipped model that a file with this header needs. Raises ModelMismatchError where there is
    none.
    """
    path = model_for(header.probability, header.pixels)
    if path is None:
        shipped = ", ".join(f"{n} {m['probability_fingerprint']}" for n, m in shipped_models().items())
        raise ModelMismatchError(
            f"the file needs {described(header.probability)}, which this release does not ship (it has {shipped}); "
            "decode it with the release that made it, or give the model file to promptcodec.load(path) or --model"
        )
    return path


@dataclass(frozen=True)
class Info:
    """What a .ptc file says of itself.

    ``mode``: L, LA, RGB or RGBA. ``bpp``: bits per pixel. ``preview``: its width and height, or None. ``quality``: 0 to
    100. ``model``: the name of the shipped one, or "unknown". ``adapters``: those that a decoder needs. ``metadata``:
    sentences on what the file has of them. ``format``: version of the file format.
    """

    width: int
    height: int
    mode: str
    bytes: int
    bpp: float
    tiles: int
    preview: str | None
    quality: float
    model: str
    fingerprint: str
    adapters: tuple[str, ...]
    metadata: tuple[str, ...]
    icc_bytes: int
    exif_bytes: int
    xmp_bytes: int
    format: int


def info(file: File) -> Info:
    """Read what a .ptc file says of itself: size, quality, model and metadata. Loads no model. Raises FormatError."""
    with opened(file) as contents:
        contents.check_tiles()
    header, metadata, small = contents.header, contents.metadata, contents.preview
    path = model_for(header.probability, header.pixels)
    return Info(
        width=header.width, height=header.height,
        mode=("L" if header.grey else "RGB") + ("A" if metadata.alpha is not None else ""),
        bytes=contents.size, bpp=round(8 * contents.size / (header.width * header.height), 4), tiles=header.tile_count,
        preview=None if small is None else f"{small.width}x{small.height}", quality=round(header.q / 655.35, 2),
        model=path.stem if path else "unknown", fingerprint=f"{header.probability.hex()}-{header.pixels.hex()}",
        adapters=tuple(adapter.name for adapter in contents.adapters), metadata=tuple(metadata_facts(metadata)),
        icc_bytes=len(metadata.icc or b""), exif_bytes=len(metadata.exif or b""), xmp_bytes=len(metadata.xmp or b""),
        format=VERSION,
    )  # fmt: skip


@contextmanager
def opened(file: File, max_pixels: int | None = MAX_PIXELS) -> Iterator[PtcReader]:
    """Open a .ptc file to read tile by tile; what is not seekable is read whole. Raises as ``read_bytes`` does."""
    with _seekable(file, max_pixels) as stream:
        yield PtcReader(stream, max_pixels)


@contextmanager
def _seekable(file: File, max_pixels: int | None) -> Iterator[BinaryIO]:
    if isinstance(file, (str, os.PathLike)):
        regular = Path(file).is_file()  # unbuffered: no more of it is read than is asked for
        with Path(file).open("rb", buffering=0 if regular else -1) as stream:
            yield stream if regular else io.BytesIO(read_bytes(stream, max_pixels))
    elif isinstance(file, (bytes, bytearray, memoryview)):
        yield io.BytesIO(file)
    else:
        whole = checked(file)
        yield whole if can_seek(whole) else io.BytesIO(read_bytes(whole, max_pixels))


def read_bytes(file: File, max_pixels: int | None = MAX_PIXELS) -> bytes:
    """Read all bytes of a .ptc file. What is none is refused after its first bytes, however long it is.

    Raises FormatError, VersionError and LimitError; UsageError for files in text mode, OSError where a path cannot be
    read.
    """
    if isinstance(file, (bytes, bytearray, memoryview)):
        return bytes(file)
    if isinstance(file, (str, os.PathLike)):
        with Path(file).open("rb") as opened:
            return read_bytes(opened, max_pixels)
    start = read_start(checked(file), HEADER_BYTES)
    read_header(start, max_pixels)
    return start + read_all(file)


__all__ = [
    "codec_for", "codec_of", "decode", "encode", "info", "load", "model_of", "opened", "preview", "read_bytes",
    "read_header",
]  # fmt: skip
