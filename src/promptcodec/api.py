"""The functions of ``import promptcodec``."""

from __future__ import annotations

from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, BinaryIO

from promptcodec.codec.container import read_header, unpack
from promptcodec.errors import ModelMismatchError
from promptcodec.zoo.shipped import DEFAULT, find_model, model_for, shipped_models

if TYPE_CHECKING:
    from PIL import Image

    from promptcodec.codec.codec import Codec
    from promptcodec.codec.picture_io import Source

File = str | Path | bytes | BinaryIO

_loaded: dict[tuple[str, str], Codec] = {}
_loading = Lock()


def load(model: str | Path | None = None, device: str = "cpu") -> Codec:
    """A codec: of the default model, of a shipped one by name, or of a model file. Loaded once a process and device.

    Raises ModelMismatchError where there is no such model, UsageError where there is no such device.
    """
    path = find_model(str(model or DEFAULT))
    with _loading:
        key = (str(path), device)
        if key not in _loaded:
            from promptcodec.codec.codec import Codec
            from promptcodec.codec.device import check_device
            from promptcodec.zoo.model_file import load_model

            check_device(device)
            _loaded[key] = Codec(load_model(path, device), device)
        return _loaded[key]


def encode(
    image: Source, quality: float | None = None, *, target_size: float | None = None, target_bpp: float | None = None,
    target_psnr: float | None = None, target_ms_ssim: float | None = None, model: str | None = None,
    device: str = "cpu",
) -> bytes:  # fmt: skip
    """Compress a picture into the bytes of a .ptc file; see ``Codec.encode``.

    Instead of a quality one target may be given: ``target_size`` in bytes or ``target_bpp`` in bits per pixel, which
    the file comes close to and never exceeds, or ``target_psnr`` in dB or ``target_ms_ssim``, which the decoded
    picture reaches. Raises TargetError where the target is out of this picture's range.
    """
    from promptcodec.codec.search import one_target

    target = one_target(target_size, target_bpp, target_psnr, target_ms_ssim)
    return load(model, device).encode(image, quality, target=target)


def decode(file: File, *, device: str = "cpu") -> Image.Image:
    """The picture in a .ptc file (path, bytes or file object), with the shipped model that it names.

    Raises FormatError, LimitError, and ModelMismatchError where the model is not shipped with this release.
    """
    data = _bytes(file)
    return codec_for(data, device).decode(data)


def codec_for(data: bytes, device: str = "cpu") -> Codec:
    """The codec of the shipped model that a file names. Raises ModelMismatchError where there is none."""
    header = unpack(data).header
    path = model_for(header.probability)
    if path is None:
        shipped = ", ".join(f"{n} {m['probability_fingerprint']}" for n, m in shipped_models().items())
        raise ModelMismatchError(
            f"the file needs model {header.probability.hex()}, which this release does not ship (it has {shipped}); "
            "load its model file with promptcodec.load(path) or --model"
        )
    return load(path, device)


def info(file: File) -> dict[str, Any]:
    """What a .ptc file says of itself: size, quality, model and metadata. Loads no model. Raises FormatError."""
    data = _bytes(file)
    contents = unpack(data)
    header, metadata = contents.header, contents.metadata
    path = model_for(header.probability)
    return {
        "width": header.width,
        "height": header.height,
        "mode": ("L" if header.grey else "RGB") + ("A" if metadata.alpha is not None else ""),
        "bytes": len(data),
        "bpp": round(8 * len(data) / (header.width * header.height), 4),
        "quality": round(header.q / 655.35, 2),
        "model": path.stem if path else "unknown",
        "fingerprint": f"{header.probability.hex()}-{header.pixels.hex()}",
        "icc_bytes": len(metadata.icc or b""),
        "exif_bytes": len(metadata.exif or b""),
        "xmp_bytes": len(metadata.xmp or b""),
        "format": "experimental",
    }


def _bytes(file: File) -> bytes:
    if isinstance(file, bytes):
        return file
    if isinstance(file, (str, Path)):
        return Path(file).read_bytes()
    return file.read()


__all__ = ["codec_for", "decode", "encode", "info", "load", "read_header"]
