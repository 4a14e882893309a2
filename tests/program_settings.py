"""What other programs set in torch, NumPy and Python: contexts by name, for tests and their child processes."""

import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import numpy as np
import torch


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def _default_device(device: str) -> Iterator[None]:
    torch.set_default_device(device)
    try:
        yield
    finally:
        torch.set_default_device(None)


@contextmanager
def _threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


@contextmanager
def _flushed_denormals() -> Iterator[None]:
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


@contextmanager
def _product_precision() -> Iterator[None]:
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision("highest")


@contextmanager
def _backend_precision() -> Iterator[None]:
    settings = (torch.backends.mkldnn.matmul, torch.backends.mkldnn.conv)
    before = [setting.fp32_precision for setting in settings]
    for setting in settings:
        setting.fp32_precision = "bf16"
    try:
        yield
    finally:
        for setting, precision in zip(settings, before, strict=True):
            setting.fp32_precision = precision


@contextmanager
def _seeds() -> Iterator[None]:
    torch.manual_seed(7)
    np.random.seed(7)
    random.seed(7)
    yield


SETTINGS: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "default dtype bfloat16": lambda: _default_dtype(torch.bfloat16),
    "default dtype float16": lambda: _default_dtype(torch.float16),
    "default dtype float64": lambda: _default_dtype(torch.float64),
    "default device": lambda: _default_device("meta"),
    "device context": lambda: torch.device("meta"),
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "two threads": lambda: _threads(2),
    "numpy errors": lambda: np.errstate(all="raise"),
    "deterministic algorithms": _deterministic,
    "flushed denormals": _flushed_denormals,
    "product precision": _product_precision,
    "backend precision": _backend_precision,
    "seeds": _seeds,
}
