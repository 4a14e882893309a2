"""A second decoder of .ptc files, up to the integers: written from docs/format.md, stream.md and networks.md alone.

    python tests/conformance/second_decoder.py FILE.ptc MODEL.safetensors gaussian_tables.npz [ADAPTER.safetensors ...]

prints the SHA-256 of the file's integers, as tests/conformance/*.json has it, or says what is wrong with the file. It
imports NumPy and the standard library, nothing of promptcodec's, and makes no pixels. Slow, and meant to be read.
"""

import hashlib
import json
import math
import struct
import sys
import zlib
from pathlib import Path

import numpy as np

VERSION = 2
HEADER, TILE, ALPHA, ICC, EXIF, XMP, SOURCE_HASH, ADAPTERS, PREVIEW = 1, 2, 3, 4, 0x85, 0x86, 0x87, 8, 0x89
KNOWN = (HEADER, TILE, ALPHA, ICC, EXIF, XMP, SOURCE_HASH, ADAPTERS, PREVIEW)
PIECE = 2**18
STEP = math.log(256 / 0.11) / 63
DEFAULTS = {"ffn": "mlp", "norm": "pre", "norm_eps": 1e-5, "gelu": "none", "context": None, "bound": 0, "gate": False}


class RefusedError(Exception):
    """What is wrong with a file."""


def demand(condition, problem):
    if not condition:
        raise RefusedError(problem)


class Bytes:
    """Bytes that are read from the front."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        demand(self.at + count <= len(self.data), "it ends too early")
        self.at += count
        return self.data[self.at - count : self.at]

    def leb128(self):
        value = 0
        for shift in range(0, 35, 7):
            byte = self.take(1)[0]
            value |= (byte & 127) << shift
            if byte < 128:
                demand(byte or not shift, "a number has more bytes than it needs")
                return value
        raise RefusedError("a number has more than five bytes")

    def rest(self):
        return self.take(len(self.data) - self.at)


# The frame


def chunks(data):
    """(type, payload) of all chunks."""
    demand(data[:4] == b"\x8fPTC", "no .ptc file")
    demand(data[4:5] == bytes([VERSION]), "another format version")
    file, found = Bytes(data[5:]), []
    while file.at < len(file.data):
        begin = file.at
        kind, length = file.take(1)[0], file.leb128()
        payload = file.take(length)
        crc = zlib.crc32(file.data[begin : file.at])
        demand(file.take(4) == struct.pack("<I", crc), f"chunk {kind:02x} has a wrong CRC")
        if kind not in KNOWN:
            demand(kind >= 128, f"an unknown feature {kind:02x}")
            continue
        demand(kind == TILE or kind not in [other for other, _ in found], f"a second chunk {kind:02x}")
        demand(kind != PREVIEW or len(found) == 1, "a preview elsewhere")
        found.append((kind, payload))
    demand(found and found[0][0] == HEADER, "no header")
    return found


def header_of(payload):
    """The header's fields; tiles as (top, left, height, width)."""
    data = Bytes(payload)
    width, height = data.leb128(), data.leb128()
    flags, probability, pixels, q = struct.unpack("<B8s4sH", data.take(15))
    demand(not flags & ~7, "unknown flags")
    tile_width, tile_height = width, height
    if flags & 4:
        tile_width, tile_height = 256 * data.leb128(), 256 * data.leb128()
    demand(not data.rest(), "a header with more behind it")
    demand(0 < width < 2**16 and 0 < height < 2**16, "a size that no picture has")
    demand(tile_width and tile_height, "tiles of no size")
    tiles = [
        (top, left, min(tile_height, height - top), min(tile_width, width - left))
        for top in range(0, height, tile_height)
        for left in range(0, width, tile_width)
    ]
    return {"probability": probability, "pixels": pixels, "q": q, "alpha": bool(flags & 2), "tiles": tiles}


def adapters_of(payload):
    """(fingerprint, name, signal) of every adapter."""
    data, found = Bytes(payload), []
    while data.at < len(payload):
        fingerprint, name = data.take(8), data.take(data.leb128()).decode()
        found.append((fingerprint, name, data.take(data.leb128())))
    return found


# Model and adapter files


def safetensors(path):
    """Tensors, their types, and the metadata."""
    data = Path(path).read_bytes()
    end = 8 + struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:end])
    metadata = header.pop("__metadata__")
    tensors = {}
    for name, about in header.items():
        begin, stop = (end + offset for offset in about["data_offsets"])
        kind = {"F16": "<f2", "I32": "<i4"}[about["dtype"]]
        tensors[name] = np.frombuffer(data[begin:stop], kind).reshape(about["shape"])
    return tensors, metadata


def digest(text, tensors):
    found = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        kind = {"<f2": "torch.float16", "<i4": "torch.int32"}[tensor.dtype.str]
        shape = ", ".join(map(str, tensor.shape)) + ("," if tensor.ndim == 1 else "")
        found.update(f"{name} {kind} ({shape})\n".encode() + tensor.tobytes())
    return found.digest()


def split_tables(flat, lengths, offsets):
    """(first symbol, frequencies) of every table."""
    ends = np.cumsum(lengths)
    return [(int(o), flat[e - n : e].astype(np.int64)) for o, n, e in zip(offsets, lengths, ends, strict=True)]


def plain(part):
    """A part of a configuration without its kinds' wrapping: a dict with ``kind`` and the fields."""
    if isinstance(part, dict):
        return DEFAULTS | {name: plain(value) for name, value in part["fields"].items()} | {"is": part["kind"]}
    return [plain(value) for value in part] if isinstance(part, list) else part


class Model:
    """A model file, as far as the integers need it."""

    def __init__(self, path, gaussians):
        self.tensors, self.metadata = safetensors(path)
        demand(self.metadata["format"] == "promptcodec-model-1", "no model file")
        config = self.metadata["config"]
        self.config = plain(json.loads(config))
        self.weights = {name: value.astype(np.float64) for name, value in self.tensors.items() if "tables." not in name}
        self.probability, self.pixels = self.fingerprints(json.loads(config)["fields"])
        self.hyper_tables = split_tables(*(self.tensors[f"tables.{n}"] for n in ("flat", "lengths", "offsets")))
        with np.load(gaussians) as arrays:
            self.tables = split_tables(arrays["frequencies"], arrays["lengths"], arrays["offsets"])
        self.latent = channels_of(self.config["analysis"])
        self.hyper = channels_of(self.config["hyper_analysis"])
        self.base = digest(config, {k: v for k, v in self.tensors.items() if not k.startswith("tables.")})[:8]

    def fingerprints(self, fields):
        def of(names, prefixes):
            chosen = {k: v for k, v in self.tensors.items() if k.startswith(prefixes)}
            return digest(json.dumps({n: fields[n] for n in names if n in fields}, sort_keys=True), chosen)

        y_inverse = self.tensors.pop("gain.y_inverse", None)  # it alone is no part of the first
        deciding = ("h_s.", "context.", "gain.y", "gain.z_inverse", "prior.quantiles", "tables.")
        probability = of(("hyper_synthesis", "scale", "gain", "context"), deciding)[:8]
        if y_inverse is not None:
            self.tensors["gain.y_inverse"] = y_inverse
        return probability, of(("synthesis",), ("g_s.", "gain.y_inverse"))[:4]

    def gain(self, name, q):
        """exp of the table's row for q / 65,535, (channels, 1, 1)."""
        if not self.config["gain"]:
            return np.ones((1, 1, 1))
        table = self.weights[f"gain.{name}"]
        position = q / 65_535 * (len(table) - 1)
        k = min(math.floor(position), len(table) - 2)
        w = position - k
        return np.exp((1 - w) * table[k] + w * table[k + 1])[:, None, None]


def channels_of(transform):
    return [layer["channels"] for layer in transform["layers"] if "channels" in layer][-1]


# Networks, in float64


def convolved(x, weight, bias, stride, pad):
    """``down``: x (C, H, W), weight (O, C, k, k)."""
    k = weight.shape[-1]
    x = np.pad(x, ((0, 0), (pad, pad), (pad, pad)))
    places = np.lib.stride_tricks.sliding_window_view(x, (k, k), (1, 2))[:, ::stride, ::stride]
    return np.tensordot(weight, places, ((1, 2, 3), (0, 3, 4))) + bias[:, None, None]


def transposed(x, weight, bias, stride, pad):
    """``up``: x (C, H, W), weight (C, O, k, k)."""
    height, width = (stride * n for n in x.shape[1:])
    k = weight.shape[-1]
    out = np.zeros((weight.shape[1], height + k + stride, width + k + stride))
    for a in range(k):
        for b in range(k):
            part = np.tensordot(weight[:, :, a, b], x, ((0,), (0,)))
            out[:, a : a + height : stride, b : b + width : stride] += part
    return out[:, pad : pad + height, pad : pad + width] + bias[:, None, None]


def shuffled(x, stride):
    channels, height, width = x.shape
    x = x.reshape(channels // stride**2, stride, stride, height, width)
    return x.transpose(0, 3, 1, 4, 2).reshape(-1, height * stride, width * stride)


def fed_forward(x, stage, name, weights):
    """x + ffn(norm2(x)) of a block without a mixer; x (C, H, W)."""
    demand(stage["mixer"] is None and stage["norm"] == "pre", "a block that this decoder lacks")
    demand(stage["gelu"] == "none" and stage["ffn"] in ("mlp", "gated"), "a block that this decoder lacks")
    centred = x - x.mean(0)
    normed = centred / np.sqrt((centred**2).mean(0) + stage["norm_eps"])
    normed = normed * weights[name + "norm2.weight"][:, None, None] + weights[name + "norm2.bias"][:, None, None]

    def linear(layer, value):
        out = np.tensordot(weights[f"{name}ffn.{layer}.weight"], value, ((1,), (0,)))
        bias = weights.get(f"{name}ffn.{layer}.bias")
        return out if bias is None else out + bias[:, None, None]

    if stage["ffn"] == "gated":
        u, v = np.split(linear("into", normed), 2)
        return x + linear("out", gelu(u) * v)
    return x + linear(2, gelu(linear(0, normed)))


def gelu(x):
    return x / 2 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def transform(x, config, name, weights):
    demand(not config["shortcut"] and not config["gate"], "a hyper synthesis that this decoder lacks")
    for n, layer in enumerate(config["layers"]):
        begin = f"{name}layers.{n}."
        if layer["is"] == "LeakyReLU":
            x = np.maximum(x, layer["slope"] * x)
        elif layer["is"] == "Stage":
            given = x
            for m in range(layer["depth"]):
                x = fed_forward(x, layer, f"{begin}blocks.{m}.", weights)
            x = x + given if layer["residual"] else x
        else:
            demand(layer["is"] == "Resample", f"a layer that this decoder lacks: {layer['is']}")
            x = resampled(x, layer, begin, weights)
    if config["bound"]:
        centre = weights[name + "bound.centre"]
        x = centre[:, None, None] + np.clip(x, -config["bound"], config["bound"])
    return x


def resampled(x, layer, begin, weights):
    kind, stride, pad = layer["kind"], layer["stride"], layer["kernel"] // 2
    begin += "0." if kind == "shuffle" else ""
    weight, bias = weights[begin + "weight"], weights[begin + "bias"]
    if kind == "up":
        return transposed(x, weight, bias, stride, pad)
    if kind == "down":
        return convolved(x, weight, bias, stride, pad)
    return shuffled(convolved(x, weight, bias, 1, pad), stride)


# The stream


class Stream:
    """docs/stream.md."""

    def __init__(self, data):
        data = Bytes(data)
        self.escapes = Bytes(data.take(data.leb128()))
        words = data.rest()
        demand(len(words) % 4 == 0 and any(words[-4:]), "words that are none")
        self.words = list(struct.unpack(f"<{len(words) // 4}I", words))
        self.state = 0
        while self.state < 2**32 and self.words:
            self.state = self.state << 32 | self.words.pop()

    def pull(self, choice, tables):
        """Symbols, each with the table that ``choice`` names."""
        symbols = np.zeros(len(choice), np.int64)
        for table in range(len(tables)):
            first, frequencies = tables[table]
            starts = np.concatenate([[0], np.cumsum(frequencies)])
            for place in np.flatnonzero(choice == table):
                symbols[place] = self.symbol(first, frequencies, starts)
        return symbols

    def symbol(self, first, frequencies, starts):
        slot = self.state % 2**24
        entry = int(np.searchsorted(starts, slot, "right")) - 1
        self.state = (self.state >> 24) * int(frequencies[entry]) + slot - int(starts[entry])
        if self.state < 2**32 and self.words:
            self.state = self.state << 32 | self.words.pop()
        if entry < len(frequencies) - 1:
            return first + entry
        code = self.escapes.leb128()
        demand(code >> 1 < 2**24, "an escape too far out")
        return first - 1 - (code >> 1) if code & 1 else first + len(frequencies) - 1 + (code >> 1)

    def finish(self):
        demand(self.state == 2**24 and not self.words and not self.escapes.rest(), "the stream does not end")


# Tiles


def decoded(payload, model, height, width, q, gain_map=1.0):
    """The integers of a tile, as bytes, and the checksum in the file; ``gain_map`` multiplies y's gain."""
    data = Bytes(payload)
    (checksum,) = struct.unpack("<I", data.take(4))
    offsets = data.take(data.leb128())
    stream = Stream(data.rest())
    rows, columns = -(-height // 64), -(-width // 64)
    z = stream.pull(np.repeat(np.arange(model.hyper), rows * columns), model.hyper_tables)
    z = z.reshape(model.hyper, rows, columns)
    medians = model.weights["prior.quantiles"][:, 0, 1][:, None, None]
    z_hat = (z + medians) * model.gain("z_inverse", q)
    out = transform(z_hat, model.config["hyper_synthesis"], "h_s.", model.weights)
    gain = model.gain("y", q) * gain_map
    scales = out[: model.latent]
    if model.config["scale"] == "raw":
        with np.errstate(divide="ignore"):
            scales = np.log(np.maximum(scales, 0))
    shift = shifts(offsets, scales)
    position = (scales + np.log(gain) - math.log(0.11)) / STEP
    bins = np.clip(np.floor(position + 0.5 + shift), 0, 63).astype(int)
    y = stream.pull(bins.ravel(), model.tables).reshape(scales.shape)
    stream.finish()
    context = model.config["context"]
    if context is not None:  # y is coded without its means
        demand(context["is"] == "ContextualMean", "a context model that this decoder lacks")
        return z.astype("<i4").tobytes() + y.astype("<i4").tobytes(), checksum
    means = np.floor(256 * out[model.latent :] * gain + 0.5 + shift).astype(np.int64)
    return z.astype("<i4").tobytes() + (256 * y + means).astype("<i8").tobytes(), checksum


def shifts(offsets, like):
    """By how much the borders of each element are moved."""
    demand(len(offsets) == -(-like.size // PIECE), "not one border offset a piece")
    signed = np.frombuffer(offsets, np.int8).astype(np.float64) / 256
    return np.repeat(signed, PIECE)[: like.size].reshape(like.shape)


def gains_of(adapters, paths, model):
    """What the adapters of a file multiply y's gain by, for the whole picture: (M, rows, columns) or 1."""
    known, gains = {}, 1.0
    for path in paths:
        tensors, about = safetensors(path)
        fingerprint = digest(about["about"] + about["base"], tensors)[:8]
        demand(about["base"] == model.base.hex(), f"{path} is for another model")
        known[fingerprint] = tensors, json.loads(about["about"])["kind"]
    for fingerprint, name, signal in adapters:
        demand(fingerprint in known, f"the file needs adapter {name} ({fingerprint.hex()})")
        tensors, kind = known[fingerprint]
        if kind == "beta":  # acts in the synthesis alone
            continue
        demand(kind == "region-gains", f"a kind of adapter that this decoder lacks: {kind}")
        data = Bytes(signal)
        rows, columns = data.leb128(), data.leb128()
        levels = np.frombuffer(zlib.decompress(data.rest()), np.uint8).reshape(rows, columns) - 24.0
        gains = gains * 2 ** (levels * tensors["y"].astype(np.float64)[:, None, None] / 8)
    return gains


def integers(data, model, adapter_paths=()):
    """The integers of all tiles of a file, as bytes; raises ``RefusedError`` where a checksum is not theirs."""
    parts = chunks(data)
    header = header_of(parts[0][1])
    demand(header["probability"] == model.probability, f"it needs model {header['probability'].hex()}")
    by_kind = dict(parts)
    demand(header["alpha"] == (ALPHA in by_kind), "header and alpha do not agree")
    adapters = by_kind.get(ADAPTERS, b"")
    gains = gains_of(adapters_of(adapters), adapter_paths, model)
    if PREVIEW in by_kind:
        check_preview(by_kind[PREVIEW], parts[0][1], model)
    payloads = [payload for kind, payload in parts if kind == TILE]
    demand(len(payloads) == len(header["tiles"]), "not the number of tiles that the header says")
    found = []
    for number, (payload, (top, left, height, width)) in enumerate(zip(payloads, header["tiles"], strict=True)):
        part = gains
        if not isinstance(gains, float):
            rows, columns = (4 * -(-side // 64) for side in (height, width))
            part = gains[:, top // 16 : top // 16 + rows, left // 16 : left // 16 + columns]
        values, checksum = decoded(payload, model, height, width, header["q"], part)
        binding = zlib.crc32(parts[0][1] + adapters + struct.pack("<I", number))
        demand(zlib.crc32(values) ^ binding == checksum, f"tile {number} has not the checksum of its integers")
        found.append(values)
    return b"".join(found)


def check_preview(payload, header, model):
    data = Bytes(payload)
    width, height = data.leb128(), data.leb128()
    (q,) = struct.unpack("<H", data.take(2))
    binding = zlib.crc32(header + payload[: data.at] + struct.pack("<I", 2**32 - 1))
    values, checksum = decoded(data.rest(), model, height, width, q)
    demand(zlib.crc32(values) ^ binding == checksum, "the preview has not the checksum of its integers")


def main():
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    file, model, tables, *adapters = sys.argv[1:]
    try:
        found = integers(Path(file).read_bytes(), Model(model, tables), adapters)
    except RefusedError as problem:
        sys.exit(f"{file}: {problem}")
    print(hashlib.sha256(found).hexdigest())


if __name__ == "__main__":
    main()
