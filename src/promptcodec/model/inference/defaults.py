"""Torch and NumPy as they are by default, whatever the program around has set.

What a thread may have set for itself (default device, autocast, gradients, inference mode, NumPy's error state) is put
aside while ``default_settings`` holds, and comes back afterwards. The default dtype is the whole process': setting it,
even for a moment, would change tensors that other threads are making. So all code on the way from a picture to a file
names the type of every tensor that it makes, and divides no integers (tests/test_settings.py looks at every operator).
Flushing denormals to zero changes nothing: the integers that a file depends on lie far above them.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from functools import reduce
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from promptcodec.system import forks

_AUTOCAST_DEVICES = ("cpu", "cuda", "mps")


@contextmanager
def default_settings() -> Iterator[None]:
    """Guard, as a context or a decorator, every function that a program calls to code, to load or to store.

    Raises ForkError in forked processes that cannot go on.
    """
    if forks.inherited_torch:
        forks.leave_lost_threads()
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))  # which enables gradients as well
        stack.enter_context(np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"))
        stack.enter_context(full_products())
        for device in _AUTOCAST_DEVICES:
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        if not _is_cpu_default():  # only then: the context takes its time at every operator
            stack.enter_context(torch.device("cpu"))
        try:
            yield
        except RuntimeError as error:
            reason = forks.explained(error)
            if reason is error:
                raise
            raise reason from error


def _is_cpu_default() -> bool:
    try:
        return torch.get_default_device().type == "cpu"
    except (AssertionError, RuntimeError):  # a device that this torch lacks
        return False


class _Held:
    """Settings of float32 products that are kept at full precision while anybody needs it.

    They are the whole process': other threads get them too meanwhile. The first who comes remembers what was set, the
    last who goes puts it back, unless the program has set something else since.
    """

    def __init__(self, names: tuple[str, ...], legacy: bool) -> None:
        """``names``: of settings under ``torch.backends``; ``legacy``: ``set_float32_matmul_precision`` too."""
        self._names, self._legacy = names, legacy
        self._count = 0
        self._changed: dict[str, str] = {}
        self._before = "highest"
        self._lock = threading.Lock()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._begin_anew)

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            self._count += 1
            if self._count == 1:
                self._raise()
        try:
            yield
        finally:
            with self._lock:
                self._count -= 1
                if self._count == 0:
                    self._put_back()

    def _begin_anew(self) -> None:
        """In a forked process, where nobody is left who would give the lock back; the forking thread may hold on."""
        self._lock = threading.Lock()

    def _raise(self) -> None:
        self._changed, self._before = {}, _legacy_precision() if self._legacy else "highest"
        if self._before != "highest":
            torch.set_float32_matmul_precision("highest")
        for name in self._names:
            setting = _backend(name)
            if setting.fp32_precision in _REDUCED:
                self._changed[name], setting.fp32_precision = setting.fp32_precision, "ieee"

    def _put_back(self) -> None:
        for name, precision in self._changed.items():
            setting = _backend(name)
            if setting.fp32_precision == "ieee":
                setting.fp32_precision = precision
        if self._before != "highest" and _legacy_precision() == "highest":
            torch.set_float32_matmul_precision(self._before)


_REDUCED = ("tf32", "bf16")


def _backend(name: str) -> Any:
    return reduce(getattr, name.split("."), torch.backends)


def _legacy_precision() -> str:
    """That of ``set_float32_matmul_precision``; "highest" where only the newer settings were used, which it refuses."""
    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:
        return "highest"


full_products = _Held(("mkldnn.matmul", "mkldnn.conv", "cuda.matmul"), legacy=True)
"""Float32 matrix products, and convolutions on the CPU, as torch has them by default: of float32, not of TF32 or
bfloat16 in its place, which a process may have allowed."""

_full_convolutions = _Held(("cudnn.conv",), legacy=False)  # TF32 is their default


@contextmanager
def true_float32(device: torch.device) -> Iterator[None]:
    """Inside, all float32 products are products of float32: no autocast, and neither TF32 nor bfloat16 instead."""
    convolutions = _full_convolutions() if device.type == "cuda" else nullcontext()
    with full_products(), convolutions, torch.autocast(device.type, enabled=False):
        yield


class _FirstValues(TorchFunctionMode):
    """Random numbers come from a generator of one's own, and floating-point tensors are float32, in this thread alone.

    Drawn they have to be: some initialisers draw until they like what they see.
    """

    def __init__(self) -> None:
        super().__init__()
        self._generator = torch.Generator("cpu").manual_seed(0)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in _DRAWN_LIKE:
            like: Tensor = args[0]
            func, args = _DRAWN_LIKE[func], (like.shape,)
            kwargs = {"dtype": like.dtype, "device": like.device} | kwargs
        if func in _DRAWN and kwargs.get("generator") is None and _on_cpu(args, kwargs):
            kwargs["generator"] = self._generator
        if kwargs.get("dtype") is None and (
            func in _FLOATING or (func in _BY_VALUE and _is_floating(func, args, kwargs))
        ):
            kwargs["dtype"] = torch.float32
        return func(*args, **kwargs)


_DRAWN = frozenset({
    torch.rand, torch.randn, torch.randint, torch.randperm, torch.normal, torch.bernoulli, torch.multinomial,
    Tensor.uniform_, Tensor.normal_, Tensor.random_, Tensor.bernoulli_, Tensor.exponential_, Tensor.cauchy_,
    Tensor.log_normal_, Tensor.geometric_,
    nn.init.uniform_, nn.init.normal_, nn.init.kaiming_uniform_, nn.init.kaiming_normal_,  # those that torch lets see
})  # fmt: skip
_DRAWN_LIKE = {torch.rand_like: torch.rand, torch.randn_like: torch.randn}
_BY_VALUE = {torch.tensor: (0, "data"), torch.full: (1, "fill_value")}
_FLOATING = frozenset({torch.empty, torch.zeros, torch.ones, torch.eye, torch.linspace, torch.rand, torch.randn})


def _on_cpu(args: Any, kwargs: dict[str, Any]) -> bool:
    """Tell where the generator is, and a tensor that is drawn into or made."""
    device = next((value.device for value in args if isinstance(value, Tensor)), kwargs.get("device"))
    return device is None or torch.device(device).type == "cpu"


def _is_floating(func: Any, args: Any, kwargs: dict[str, Any]) -> bool:
    """Return whether a tensor of these Python numbers would have the default dtype."""
    place, name = _BY_VALUE[func]
    value = args[place] if len(args) > place else kwargs[name]
    return not isinstance(value, (Tensor, np.ndarray, np.generic)) and np.asarray(value).dtype.kind == "f"


@contextmanager
def about_to_load() -> Iterator[None]:
    """Build modules whose weights are all loaded next: float32, and without moving torch's random state."""
    with _FirstValues():
        yield
