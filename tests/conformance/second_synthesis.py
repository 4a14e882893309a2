"""Pixels of the second decoder's integers: docs/networks.md and steps 5 and 6 of docs/format.md, for files of one tile.

NumPy alone, in float64 where a decoder takes float32: pixels may differ by a level.
"""

import math

import numpy as np

try:
    from conformance import second_decoder as decoder
except ImportError:  # run from its own folder
    import second_decoder as decoder

SCHEDULE = ((0, 0), (1, 1), (0, 1), (1, 0))  # first row and column of the four steps of contextual means


def linear(x, name, weights):
    """A layer on the channels of x (C, H, W); 1 x 1 convolutions are such."""
    weight = weights[f"{name}.weight"]
    out = np.tensordot(weight.reshape(weight.shape[:2]), x, ((1,), (0,)))
    bias = weights.get(f"{name}.bias")
    return out if bias is None else out + bias[:, None, None]


def normed(x, name, weights, epsilon=1e-5):
    centred = x - x.mean(0)
    x = centred / np.sqrt((centred**2).mean(0) + epsilon)
    return x * weights[f"{name}.weight"][:, None, None] + weights[f"{name}.bias"][:, None, None]


def depthwise(x, name, weights):
    weight = weights[f"{name}.weight"][:, 0]
    k = weight.shape[-1]
    x = np.pad(x, ((0, 0), (k // 2, k // 2), (k // 2, k // 2)))
    places = np.lib.stride_tricks.sliding_window_view(x, (k, k), (1, 2))
    return np.einsum("cijab,cab->cij", places, weight) + weights[f"{name}.bias"][:, None, None]


def attention(x, mixer, shifted, name, weights):
    window, channels = mixer["window"], len(x)
    shift = window // 2 if shifted else 0
    query, key, value = np.split(linear(x, f"{name}.qkv", weights), 3)
    out = np.zeros_like(x)
    for top in range(-shift, x.shape[1], window):
        for left in range(-shift, x.shape[2], window):
            rows, columns = (
                part.ravel()
                for part in np.meshgrid(
                    np.arange(max(top, 0), min(top + window, x.shape[1])),
                    np.arange(max(left, 0), min(left + window, x.shape[2])),
                    indexing="ij",
                )
            )
            down, right = (p[:, None] - p + window - 1 for p in (rows, columns))
            bias = weights[f"{name}.relative_bias"][down * (2 * window - 1) + right]
            for head in range(mixer["heads"]):
                part = np.arange(channels).reshape(mixer["heads"], -1)[head][:, None]
                q, k, v = (t[part, rows, columns] for t in (query, key, value))
                logits = q.T @ k / math.sqrt(len(q)) + bias[:, :, head]
                shares = np.exp(logits - logits.max(1, keepdims=True))
                out[part, rows, columns] = v @ (shares / shares.sum(1, keepdims=True)).T
    return linear(out, f"{name}.proj", weights)


def stage(x, layer, name, weights):
    given, mixer = x, layer["mixer"]
    for m in range(layer["depth"]):
        block = f"{name}blocks.{m}."
        if mixer is not None:
            tokens = normed(x, block + "norm1", weights, layer["norm_eps"])
            if mixer["is"] == "Depthwise":
                x = x + depthwise(tokens, block + "mixer.conv", weights)
            else:
                x = x + attention(tokens, mixer, layer["shift"] and m % 2 == 1, block + "mixer", weights)
        x = decoder.fed_forward(x, layer | {"mixer": None}, block, weights)
    return x + given if layer["residual"] else x


def transform(x, config, name, weights):
    """A transform to a map as large as its input or larger."""
    given, gate, layers = x, 1.0, config["layers"]
    enlarging = [n for n, layer in enumerate(layers) if layer["is"] == "Resample" and layer["kind"] != "down"]
    gated = min([*enlarging, len(layers) - 1]) - 1 if config["gate"] else None
    for n, layer in enumerate(layers):
        begin = f"{name}layers.{n}."
        x = stage(x, layer, begin, weights) if layer["is"] == "Stage" else decoder.resampled(x, layer, begin, weights)
        if n == gated:
            gate = 1 + linear(x, name + "gate", weights)
    if config["shortcut"]:
        blocks = np.einsum("cij,coab->oiajb", given * gate, weights[name + "shortcut.weight"])
        x = x + blocks.reshape(x.shape)
    return x


def latent(z_hat, residual, model, q):
    """The gained ŷ of a model with contextual means."""
    weights, config, gain = model.weights, model.config, model.gain("y", q)
    log_scale = decoder.transform(z_hat, config["hyper_synthesis"], "h_s.", weights) + np.log(gain)
    features = transform(z_hat, config["context"]["features"], "context.features.", weights)
    first = gain * linear(features, "context.first", weights)
    deviation = np.maximum(np.exp(log_scale), 0.11)
    hidden = linear(features, "context.of_features", weights) + linear(log_scale, "context.of_scales", weights)
    y_hat, seen = np.zeros_like(first), np.zeros_like(hidden)
    for step, (row, column) in enumerate(SCHEDULE):
        here = (slice(None), slice(row, None, 2), slice(column, None, 2))
        tokens = hidden + depthwise(seen, f"context.around.{step - 1}", weights) if step else hidden
        tokens = tokens[here]
        u, v = np.split(linear(normed(tokens, "context.norm", weights), "context.ffn.into", weights), 2)
        tokens = tokens + linear(decoder.gelu(u) * v, "context.ffn.out", weights)
        y_hat[here] = residual[here] + first[here] + deviation[here] * linear(tokens, "context.out", weights)
        departure = np.clip((y_hat[here] - first[here]) / deviation[here], -16, 16)
        seen[here] = linear(departure, "context.of_residuals", weights)
    return y_hat


def pixels(data, model):
    """uint8 (H, W, 3) of a file of one tile, without adapters."""
    header = decoder.header_of(decoder.chunks(data)[0][1])
    ((_, _, height, width),) = header["tiles"]
    found, q = decoder.integers(data, model), header["q"]
    shape = (model.hyper, -(-height // 64), -(-width // 64))
    z = np.frombuffer(found, "<i4", math.prod(shape)).reshape(shape)
    kind = "<i8" if model.config["context"] is None else "<i4"
    y = np.frombuffer(found[4 * z.size :], kind).reshape(model.latent, 4 * shape[1], 4 * shape[2])
    if model.config["context"] is None:
        y_hat = y / 256
    else:
        medians = model.weights["prior.quantiles"][:, 0, 1][:, None, None]
        y_hat = latent((z + medians) * model.gain("z_inverse", q), y, model, q)
    x = transform(y_hat * model.gain("y_inverse", q), model.config["synthesis"], "g_s.", model.weights)
    x = np.rint(np.clip(x[:, :height, :width], 0, 1) * 255)
    return x.transpose(1, 2, 0).astype(np.uint8)
