"""Torch and NumPy as they are by default, whatever the program around has set.

What a thread may have set for itself (default device, autocast, gradients, inference mode, NumPy's error state) is put
aside while ``default_settings`` holds, and comes back afterwards. The default dtype is the whole process': setting it,
even for a moment, would change tensors that other threads are making. So all code on the way from a picture to a file
names the type of every tensor that it makes, and divides no integers (tests/test_settings.py looks at every operator).
Flushing denormals to zero changes nothing: the integers that a file depends on lie far above them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from promptcodec.model.inference.precision import full_products
from promptcodec.system.forks import explained, leave_lost_threads

_AUTOCAST_DEVICES = ("cpu", "cuda", "mps")


@contextmanager
def default_settings() -> Iterator[None]:
    """Guard, as a context or a decorator, every function that a program calls to code, to load or to store.

    Raises ForkError in forked processes that cannot go on.
    """
    leave_lost_threads()
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
            reason = explained(error)
            if reason is error:
                raise
            raise reason from error


def _is_cpu_default() -> bool:
    try:
        return torch.get_default_device().type == "cpu"
    except (AssertionError, RuntimeError):  # a device that this torch lacks
        return False


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
