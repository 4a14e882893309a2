"""Make conformance files, and never change one that is there. In the folder ``tests``:

    python -m conformance.make features      # the format's features, with the tiny models beside them
    python -m conformance.make bad           # files that must be refused
    python -m conformance.make model nano    # registers a shipped model, as experimental, and makes its files
    python -m conformance.make adapter look.safetensors 1 "decode --look 0..1" look=0.7
                                             # puts an adapter of the default model into the package, as
                                             # experimental, and makes its files: with these settings, or with
                                             # roi=x,y,w,h
    python -m conformance.make stable nano   # what a release does: declares a model and its adapters stable

Every release after the one that a file is in must decode it, if it is sound, to the same latents, and to pixels within
one level of the PNG beside it; and must refuse a bad one with the error that ``bad.json`` names. Files of a model or
adapter that is dropped before a release declared it stable go with it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from conformance.bad_files import bad_files
from conformance.tiny_models import MODELS
from PIL import Image

from promptcodec.api import codec_of
from promptcodec.bitstream import container
from promptcodec.bitstream.container import PtcReader, pack, unpack
from promptcodec.codec import picture_encoder
from promptcodec.codec.codec import Codec
from promptcodec.codec.one_shot import OneShotCoder, SymbolCoder, Symbols
from promptcodec.model.arrays import Float64s
from promptcodec.model.base import CompressionModel
from promptcodec.model.entropy.contextual_mean import ContextualMean as ContextualMeanNetwork
from promptcodec.picture.write import to_pil
from promptcodec.steer.adapter_file import base_fingerprint, load_adapter, save_adapter
from promptcodec.steer.methods.gain_units import GainUnits
from promptcodec.store.model_file import load_model, save_model
from promptcodec.store.shipped import DEFAULT, find_model, read_metadata
from promptcodec.store.shipped_adapters import REGISTER as ADAPTER_REGISTER
from promptcodec.store.shipped_adapters import ShippedAdapter, shipped_adapters
from promptcodec.store.versions import REGISTER

FOLDER = Path(__file__).parent


def new(name: str, data: bytes) -> None:
    """Write a file that is not there yet."""
    path = FOLDER / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        file.write(data)


def picture(height: int, width: int) -> np.ndarray:
    """uint8 (height, width, 3): waves and an edge, from integers alone."""
    rows, columns = np.mgrid[0:height, 0:width]
    waves = np.stack([(rows * rows // 40 + columns * (3 + c)) % 256 for c in range(3)], -1)
    waves = np.abs(waves - 128) * 2
    waves[height // 2 :, : width // 3] = (40, 90, 200)
    return np.clip(waves, 0, 255).astype(np.uint8)


def latents_of(codec: Codec, data: bytes, adapters: Sequence[Path] = ()) -> str:
    """SHA-256 over all tiles' integers: z's symbols as int32 and 256 ŷ as int64, or with contextual means y's symbols
    as int32; all little-endian, in C order."""
    if isinstance(codec.coder, OneShotCoder):
        return symbols_of(codec.coder.symbols, codec, data, adapters)
    digest, decode_both = hashlib.sha256(), codec.coder.decode_both

    def hashed(coded: Any, height: int, width: int, q: float, attached: Any) -> tuple[Float64s, Float64s]:
        z_hat, y_hat = decode_both(coded, height, width, q, attached)
        gain = codec.coder.hyper.gains(q, attached).z_inverse
        digest.update(np.rint(z_hat / gain - codec.coder.hyper.medians).astype("<i4").tobytes())
        digest.update(np.rint(256 * y_hat).astype("<i8").tobytes())
        return z_hat, y_hat

    codec.coder.decode_both = hashed  # type: ignore[method-assign]
    try:
        file = unpack(data)
        plain = dataclasses.replace(file, preview=None)
        codec.verify(pack(plain), adapters=adapters)
    finally:
        del codec.coder.decode_both
    return digest.hexdigest()


def symbols_of(coder: SymbolCoder, codec: Codec, data: bytes, adapters: Sequence[Path]) -> str:
    """As ``latents_of``, with contextual means."""
    digest, decode = hashlib.sha256(), coder.decode

    def hashed(*arguments: Any) -> tuple[Symbols, Float64s]:
        symbols, log_scale = decode(*arguments)
        for part in (symbols.z, symbols.y):
            digest.update(part.astype("<i4").tobytes())
        return symbols, log_scale

    coder.decode = hashed  # type: ignore[method-assign]
    try:
        codec.verify(pack(dataclasses.replace(unpack(data), preview=None)), adapters=adapters)
    finally:
        del coder.decode
    return digest.hexdigest()


def add(name: str, codec: Codec, data: bytes, model: str, adapter: str | None = None) -> dict[str, Any]:
    """Write a file with the picture that it decodes to; returns its entry in the list."""
    adapters = [FOLDER / adapter] if adapter else []
    decoded = to_pil(codec.decode_picture(data, adapters=adapters))
    decoded.info.clear()
    new(f"{name}.ptc", data)
    with (FOLDER / f"{name}.png").open("xb") as file:
        decoded.save(file, "PNG", optimize=True)
    return {
        "model": model, "adapter": adapter, "sha256": hashlib.sha256(data).hexdigest(),
        "latents": latents_of(codec, data, adapters),
    }  # fmt: skip


def listed(name: str, entries: dict[str, Any]) -> None:
    new(name, (json.dumps(entries, indent=1, ensure_ascii=False) + "\n").encode())


def in_tiles(codec: Codec, source: Any, quality: float | None, **options: Any) -> bytes:
    """As ``codec.encode``, in tiles of 256 x 256."""
    chosen, picture_encoder.tile_size = picture_encoder.tile_size, lambda *_: (256, 256)
    try:
        return codec.encode(source, quality, **options)
    finally:
        picture_encoder.tile_size = chosen


def features() -> None:
    """Tiny models and an adapter with random weights, and files of every feature made with them."""
    codecs = {}
    for number, (name, config) in enumerate(MODELS.items()):
        torch.manual_seed(number)
        network = CompressionModel(config)
        with torch.no_grad():  # so that latents are not all zero
            network.g_a.shortcut.weight.mul_(30)  # type: ignore[union-attr]
            network.h_a.layers[-1].weight.mul_(20)
            if isinstance(network.context, ContextualMeanNetwork):  # nor means, or the gates all one
                for layer in (network.context.first, network.context.out, network.g_a.gate, network.g_s.gate):
                    layer.weight.normal_(std=0.1)  # type: ignore[union-attr]
        path = FOLDER / f"{name}.safetensors"
        if path.exists():
            sys.exit(f"{path} exists: what is there is never changed")
        save_model(network, path, "1")
        codecs[name] = codec_of(load_model(path))
    tiny = codecs["tiny"]
    adapter = GainUnits(tiny.backend.network.config, levels=2)
    with torch.no_grad():
        adapter.y[0].mul_(0.5), adapter.y_inverse[0].mul_(2.0)
    save_adapter(adapter, tiny.backend.network, FOLDER / "gain-units.safetensors")
    photo = picture(75, 90)
    alpha = np.dstack([photo, np.minimum(np.add.outer(np.arange(75), np.arange(90)), 255).astype(np.uint8)])
    rich = Image.fromarray(photo)
    exif = Image.Exif()
    exif[0x010E] = "conformance"
    rich.info |= {"exif": exif.tobytes(), "xmp": b"<x:xmpmeta/>", "icc_profile": _srgb()}
    gain_units = [FOLDER / "gain-units.safetensors"]
    made = {
        "plain": tiny.encode(photo, 50), "lowest": tiny.encode(photo, 0), "highest": tiny.encode(photo, 100),
        "one-pixel": tiny.encode(photo[:1, :1], 50), "grey": tiny.encode(photo[:, :, 0], 50),
        "alpha": tiny.encode(alpha, 50), "opaque": tiny.encode(np.dstack([photo, 0 * photo[:, :, :1] + 255]), 50),
        "grey-alpha": tiny.encode(alpha[:, :, 2:], 50), "metadata": tiny.encode(rich, 50, source_hash=b"01234567"),
        "tiles": in_tiles(tiny, picture(258, 300), 50), "tiles-grey": in_tiles(tiny, picture(70, 300)[:, :, 0], 50),
        "tiles-alike": in_tiles(tiny, picture(70, 512), 50, preview=False),
        "preview": tiny.encode(picture(150, 300), 50, preview=True),
    }  # fmt: skip
    made["reserved-chunks"] = with_reserved(tiny.encode(photo, 50))
    entries = {name: add(name, tiny, data, "tiny") for name, data in made.items()}
    data = tiny.encode(photo, 50, adapters=gain_units, settings={"rate": 0.25})
    entries["adapter"] = add("adapter", tiny, data, "tiny", "gain-units.safetensors")
    for name, quality in (("tiny-space-channel", 50.0), ("tiny-causal", None), ("tiny-contextual-mean", 50.0)):
        codec, short = codecs[name], name.removeprefix("tiny-")
        entries[short] = add(short, codec, codec.encode(photo, quality), name)
        tiles = in_tiles(codec, picture(70, 300), quality, preview=False)
        entries[f"{short}-tiles"] = add(f"{short}-tiles", codec, tiles, name)
    listed("features.json", entries)


def with_reserved(data: bytes) -> bytes:
    """The file with ancillary chunks that no release gives a meaning yet: a gain map, refinements, a private one."""
    gain_map = container.chunk(container.GAIN_MAP, b"\x2d\x26a gain map")
    layers = (container.chunk(container.REFINEMENT, bytes([0, layer]) + b"a layer") for layer in range(2))
    end = PtcReader(io.BytesIO(data))._tiles[0]
    return data[:end] + gain_map + data[end:] + b"".join(layers) + container.chunk(0xF0, b"private")


def _srgb() -> bytes:
    from PIL import ImageCms

    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[24:36] = bytes(12)  # the date of its making
    return bytes(profile)


def bad() -> None:
    """Files that must be refused, and how."""
    plain, tiles, alike, adapted = (
        (FOLDER / f"{name}.ptc").read_bytes() for name in ("plain", "tiles", "tiles-alike", "adapter")
    )
    entries = {}
    for name, (content, error, message) in bad_files(plain, tiles, alike, adapted).items():
        new(f"bad/{name}.ptc", content)
        entries[name] = {"error": error, "message": message}
    listed("bad.json", entries)


def write_register(path: Path, entries: list[dict[str, Any]]) -> None:
    """Write a register of models or adapters, an entry a line."""
    lines = ",\n".join(f"  {json.dumps(entry)}" for entry in entries)
    path.write_text(f"[\n{lines}\n]\n", "utf-8")


def model(name: str) -> None:
    """Register the shipped model ``name`` as experimental, and make files of it."""
    path = find_model(name)
    about, register = read_metadata(path), json.loads(REGISTER.read_text("utf-8"))
    entry = {
        "name": about["name"], "version": about["version"], "fingerprint": about["fingerprint"], "stable": False,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }  # fmt: skip
    if any(known["fingerprint"] == entry["fingerprint"] for known in register):
        sys.exit(f"{name} {about['version']} is in the register already; another model has a version of its own")
    codec, prefix = codec_of(load_model(path)), f"{about['name']}-{about['version']}"
    photo = picture(100, 130)
    made = {f"{prefix}-q{quality}": codec.encode(photo, quality) for quality in (0, 35, 70, 100)}
    made[f"{prefix}-tiles"] = in_tiles(codec, picture(70, 300), 50)
    listed(f"{prefix}.json", {key: add(key, codec, data, str(about["name"])) for key, data in made.items()})
    write_register(REGISTER, [*register, entry])


def stable(name: str) -> None:
    """Declare the registered model ``name`` and the adapters of it stable; they can never leave the package again."""
    about, changes = read_metadata(find_model(name)), 0
    models, adapters = (json.loads(path.read_text("utf-8")) for path in (REGISTER, ADAPTER_REGISTER))
    if all(entry["fingerprint"] != about["fingerprint"] for entry in models):
        sys.exit(f"{name} {about['version']} is not in the register; `conformance.make model {name}` puts it there")
    for entry in (*models, *adapters):
        full_name = entry.get("base_name") or f"{entry['name']} {entry['version']}"
        if full_name == f"{about['name']} {about['version']}" and not entry["stable"]:
            entry["stable"], changes = True, changes + 1
    if not changes:
        sys.exit(f"{name} {about['version']} and its adapters are stable already")
    write_register(REGISTER, models)
    write_register(ADAPTER_REGISTER, adapters)


def adapter(path: Path, version: str, use: str, asked: list[str]) -> None:
    """Put an adapter file of the default model into the package, as experimental, and make files that need it."""
    base = read_metadata(find_model(DEFAULT))
    codec = codec_of(load_model(find_model(DEFAULT)))
    stored, register = load_adapter(path, codec.backend.network), json.loads(ADAPTER_REGISTER.read_text("utf-8"))
    prefix = f"{base['name']}-{base['version']}-{stored.name}-{version}"
    data = path.read_bytes()
    entry = ShippedAdapter(
        f"{prefix}.safetensors", stored.name, version, base_fingerprint(codec.backend.network),
        f"{base['name']} {base['version']}", stored.fingerprint.hex(), use, False, hashlib.sha256(data).hexdigest(),
    )  # fmt: skip
    with entry.path.open("xb") as file:
        file.write(data)
    write_register(ADAPTER_REGISTER, [*register, dataclasses.asdict(entry)])
    shipped_adapters.cache_clear()
    pairs = dict(pair.split("=") for pair in asked)
    options: dict[str, Any] = {
        "adapters": [entry.path],
        "roi": pairs.pop("roi", None),
        "settings": {k: float(v) for k, v in pairs.items()},
    }
    photo = picture(100, 130)
    made = {f"{prefix}-q{quality}": codec.encode(photo, quality, **options) for quality in (20, 70)}
    made[f"{prefix}-tiles"] = in_tiles(codec, picture(70, 300), 50, **options)
    listed(f"{prefix}.json", {key: add(key, codec, data, str(base["name"])) for key, data in made.items()})


def main() -> None:
    torch.set_num_threads(1)
    match sys.argv[1:]:
        case ["features"]:
            features()
        case ["bad"]:
            bad()
        case ["model", name]:
            model(name)
        case ["stable", name]:
            stable(name)
        case ["adapter", path, version, use, *asked]:
            adapter(Path(path), version, use, asked)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
