"""VVC intra through the ffmpeg of imageio-ffmpeg: VVenC encodes 4:2:0 at 10 bits, ffmpeg's own decoder decodes."""

from __future__ import annotations

import re
import subprocess

import numpy as np

from promptcodec.errors import PromptcodecError, UsageError
from promptcodec.evaluate.codecs.evaluated_codec import EvaluatedCodec
from promptcodec.quality.pixels import Pixels
from promptcodec.quality.ycbcr import double, halve, to_rgb, to_ycbcr
from promptcodec.system.extras import import_extra

_SCALE = 1023 / 255  # 10 bits, full range


class Vvc(EvaluatedCodec):
    """VVenC with a fixed quantiser, the setting; tuned for PSNR. Raises UsageError without ffmpeg.

    The file is the raw stream and one byte more: how many rows and columns were added to make both sides even.
    """

    name = "vvc"
    settings = (47.0, 43, 39, 35, 31, 27, 23, 19)
    extremes = (63, 0)
    quality_scale = in_process = False

    def __init__(self) -> None:
        self._ffmpeg = str(import_extra("imageio_ffmpeg", "imageio-ffmpeg", "peers").get_ffmpeg_exe())
        self.options = {"preset": "medium", "qpa": 0, "chroma": "4:2:0", "bits": 10}
        match = re.match(rb"ffmpeg version (\S+)", self._run(b"", "-version"))
        self.version = f"ffmpeg {match[1].decode() if match else 'unknown'}, libvvenc"

    def check(self, quality: float) -> None:
        if quality != int(quality) or not 0 <= quality <= 63:
            raise UsageError(f"{self.name} takes a whole quantiser from 0 to 63, not {quality:g}")

    def encode(self, rgb: Pixels, quality: float) -> bytes:
        height, width, _ = rgb.shape
        rows, columns = height % 2, width % 2
        y, cb, cr = to_ycbcr(np.pad(rgb, ((0, rows), (0, columns), (0, 0)), mode="edge"))
        planes = [np.rint(plane * _SCALE).clip(0, 1023).astype("<u2") for plane in (y, halve(cb), halve(cr))]
        stream = self._run(
            b"".join(plane.tobytes() for plane in planes),
            *("-f", "rawvideo", "-pix_fmt", "yuv420p10le", "-s", f"{width + columns}x{height + rows}", "-i", "-"),
            *("-c:v", "libvvenc", "-preset", "medium", "-qpa", "0", "-qp", f"{quality:g}", "-threads", "1"),
            *("-f", "vvc", "-"),
        )
        return stream + bytes([rows << 1 | columns])

    def decode(self, data: bytes) -> Pixels:
        # This pipe tells the size of the picture, which raw video does not.
        raw = self._run(data[:-1], "-threads", "1", "-f", "vvc", "-i", "-", "-f", "yuv4mpegpipe", "-strict", "-1", "-")
        header, _, rest = raw.partition(b"\n")
        sizes = re.match(rb"YUV4MPEG2 W(\d+) H(\d+) ", header)
        samples = np.frombuffer(rest.partition(b"\n")[2], "<u2").astype(np.float32) / np.float32(_SCALE)
        if not sizes:
            raise PromptcodecError("ffmpeg decoded no picture")
        width, height = int(sizes[1]), int(sizes[2])
        y, cb, cr = np.split(samples, [width * height, width * height * 5 // 4])
        chroma = (double(plane.reshape(height // 2, width // 2)) for plane in (cb, cr))
        rgb = to_rgb(np.stack([y.reshape(height, width), *chroma]))
        return rgb[: height - (data[-1] >> 1), : width - (data[-1] & 1)]

    def _run(self, data: bytes, *arguments: str) -> bytes:
        """Return standard output. Raises PromptcodecError with the last thing that ffmpeg says."""
        done = subprocess.run(
            [self._ffmpeg, "-loglevel", "error", *arguments], input=data, capture_output=True, check=False
        )
        if done.returncode:
            messages = done.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
            raise PromptcodecError(f"ffmpeg fails: {messages[-1]}")
        return done.stdout
