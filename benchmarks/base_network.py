"""The networks of a codec, for benchmarks that look behind its backend."""

from __future__ import annotations

from promptcodec.codec.codec import Codec
from promptcodec.model.base import CompressionModel
from promptcodec.model.inference.backend import TorchBackend


def network_of(codec: Codec) -> CompressionModel:
    """Return the networks that PyTorch runs for ``codec``."""
    assert isinstance(codec.backend, TorchBackend)
    return codec.backend.network
