"""What is fuzzed with the shipped model: files damaged in every way, and sound files of hostile latents."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

import promptcodec
from promptcodec.bitstream import container
from promptcodec.errors import PromptcodecError
from promptcodec.model.arrays import Analysis

torch.set_num_threads(1)
_codec = promptcodec.load()


def decoder_target(data: bytes) -> None:
    """From bytes to pixels: a picture of the size that the header says, or one of our errors."""
    try:
        picture = _codec.decode_picture(data)
    except PromptcodecError as error:
        if "\n" in str(error):
            raise AssertionError(f"an error of several lines: {error}") from None
        return
    header = container.read_header(data)
    if picture.rgb.shape != (header.height, header.width, 3):
        raise AssertionError(f"pixels of {picture.rgb.shape} for {header}")


def latents_target(data: bytes) -> None:
    """Latents that no picture has, coded into a sound file: it decodes to pixels, or the encoder refuses."""
    if len(data) < 8:
        return
    q = int.from_bytes(data[:2], "little") / 65_535
    rows, columns = data[2] % 2 + 1, data[3] % 2 + 1
    exponent = data[4] % 32
    values = np.frombuffer(data[5:], np.int8).astype(np.float32) * 2.0 ** (exponent - 16)
    config = _codec.config
    y_shape = (1, config.latent_channels, 4 * rows, 4 * columns)
    z_shape = (1, config.hyper_channels, rows, columns)
    y, z = (np.resize(v, s) for v, s in ((values, y_shape),
            (np.roll(values, 1) * (data[4] >> 5), z_shape)))  # fmt: skip
    try:
        coded = _codec.coder.encode(Analysis(y, z), q)
    except PromptcodecError:
        return
    z_hat, y_hat = _codec.coder.decode_both(coded, 64 * rows, 64 * columns, q)
    pixels = _codec.synthesise(y_hat, z_hat, 64 * rows, 64 * columns, q)
    if pixels.shape != (64 * rows, 64 * columns, 3):
        raise AssertionError(f"pixels of {pixels.shape}")


def write_seeds(folder: Path) -> None:
    """Small files of every kind by the shipped model."""
    rng = np.random.default_rng(0)
    photo = np.clip(np.cumsum(rng.normal(0, 9, (40, 33, 3)), axis=1) + 128, 0, 255).astype(np.uint8)
    rich = Image.fromarray(photo)
    exif = Image.Exif()
    exif[0x010E] = "a description"
    rich.info |= {"exif": exif.tobytes(), "xmp": b"<x:xmpmeta/>"}
    alpha = np.dstack([photo, photo[:, :, :1]])
    for name, source in {"plain": photo, "grey": photo[:, :, 0], "alpha": alpha, "metadata": rich}.items():
        (folder / name).write_bytes(_codec.encode(source, 10))
    (folder / "region").write_bytes(promptcodec.encode(photo, 10, roi="4,4,20,20"))


TARGETS = {"decoder": decoder_target, "latents": latents_target}
