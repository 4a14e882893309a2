"""The seam between a codec and its networks: another runtime than PyTorch codes files that are read again."""

import subprocess
import sys

FAKE = '''
import contextlib, sys
import numpy as np
from promptcodec.bitstream.tables import tables_from_pmfs
from promptcodec.codec.codec import Codec
from promptcodec.model import arrays
from promptcodec.model.config import ContextualMean, Model, Resample, Stage, Transform


class Hyper:
    """Scales from z by a table, means of nothing."""

    tables = tables_from_pmfs([np.append(np.full(17, 0.06), 0.0)] * 4, [-8] * 4)
    medians = np.zeros((1, 4, 1, 1))

    def __init__(self, config):
        self.config = config

    def gains(self, q, attached=None):
        return arrays.Gains(1 + 7 * q, 1 / (1 + 7 * q))

    def log_scales(self, z_symbols, q, attached=None):
        scale = np.abs(z_symbols).mean(1, keepdims=True).repeat(4, 2).repeat(4, 3)
        return np.log(np.broadcast_to(1 + scale, (1, 12, *scale.shape[2:]))) + 0.01

    def schedule(self, z_symbols, q, attached=None):
        log_sigma = self.log_scales(z_symbols, q)
        yield arrays.Step(arrays.EVERYWHERE, log_sigma, np.zeros_like(log_sigma))


class Backend:
    """Latents are means of four by four places of every block, colour by colour."""

    name, probability, pixels = "fake", b"12345678", b"abcd"

    def __init__(self, config):
        self.hyper = Hyper(config)

    def default_settings(self):
        return contextlib.nullcontext()

    def analyse(self, rgb, q, attached, effort, report):
        height, width = (-(-side // 64) * 64 for side in rgb.shape[:2])
        padded = np.pad(rgb, ((0, height - rgb.shape[0]), (0, width - rgb.shape[1]), (0, 0)), "edge").astype(np.float32)
        places = padded.reshape(height // 16, 2, 8, width // 16, 2, 8, 3).mean((2, 5)) - 128
        y = places.transpose(1, 3, 4, 0, 2).reshape(1, 12, height // 16, width // 16)
        z = np.abs(y).reshape(1, 4, 3, height // 64, 4, width // 64, 4).mean((2, 4, 6)) / 16
        return arrays.Analysis(y, z.astype(np.float32))

    def analyse_batch(self, pictures):
        return [self.analyse(rgb, 0.0, None, None, None) for rgb in pictures]

    def means(self, z_symbols, log_sigma, q, attached=None):
        for row in range(2):
            where = (slice(None), slice(None), slice(row, None, 2), slice(None))
            y_hat = yield arrays.MeanStep(where, np.full_like(log_sigma[where], 0.25, np.float32))

    def synthesise(self, y, z, attached, height, width):
        _, _, rows, columns = y.shape
        places = y.reshape(2, 2, 3, rows, columns).transpose(3, 0, 4, 1, 2).reshape(2 * rows, 2 * columns, 3)
        pixels = (places + 128).repeat(8, 0).repeat(8, 1)[:height, :width]
        return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


def config(context):
    layer = Resample("down", 12, 1, 1)
    hyper = Resample("down", 4, 1, 1)
    return Model("fake", Transform(3, (layer,)), Transform(12, (layer,)), Transform(12, (hyper,)),
                 Transform(4, (layer,)), gain=object(), context=context)
'''
RUN = """
rng = np.random.default_rng(0)
picture = np.clip(rng.normal(128, 40, (12, 18, 3)).repeat(8, 0).repeat(8, 1), 0, 255).astype(np.uint8)
for context in (None, ContextualMean(Transform(4, ()))):
    codec = Codec(Backend(config(context)))
    low, high = (codec.encode(picture, quality, verify=True) for quality in (0, 100))
    assert len(low) < len(high)
    error = [np.abs(codec.decode_picture(data).rgb.astype(int) - picture).mean() for data in (low, high)]
    assert error[1] < 1 and error[1] <= error[0] < 2, error
    codec.verify(high)
    damaged = high[:-9] + bytes([high[-9] ^ 1]) + high[-8:]
    try:
        codec.decode(damaged)
    except Exception as found:
        assert type(found).__name__ == "FormatError"
    try:
        codec.encode(picture, roi="0,0,8,8")
    except Exception as found:
        assert "no adapters" in str(found)
    else:
        raise AssertionError("a region without adapters")
loaded = [name for name in sys.modules if name.partition(".")[0] == "torch"]
assert not loaded, loaded
"""


def test_a_backend_without_torch():
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FAKE + RUN], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
