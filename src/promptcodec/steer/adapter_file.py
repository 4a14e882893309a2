"""Adapter files: the adapter's own tensors in half precision, its kind and options, and the base that it belongs to."""

from __future__ import annotations

import copy
import hashlib
import json
from dataclasses import dataclass, field
from functools import cached_property, partial
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from promptcodec.bitstream.contents import Q_STEPS
from promptcodec.errors import ModelMismatchError, OtherBaseError, UsageError
from promptcodec.model.base import CompressionModel
from promptcodec.model.config import Gain
from promptcodec.model.inference.defaults import about_to_load, default_settings
from promptcodec.steer.adapter import Adapter
from promptcodec.steer.kinds import BUILT_IN, PARAMETER_FREE
from promptcodec.store.shipped_adapters import find_adapter, shipped_adapters
from promptcodec.store.tensor_file import read_tensor_file
from promptcodec.system.atomic import atomic_write
from promptcodec.system.bounded_cache import BoundedCache

FORMAT = "promptcodec-adapter-1"
FINGERPRINT_BYTES = 8
MOST_FILES = 16  # adapters of a codec that stay in memory


@dataclass(frozen=True)
class StoredAdapter:
    """An adapter as read from its file (float32, evaluation mode), and what identifies it in .ptc files.

    ``base_lambda``: the trade-off at which a base of variable rate was kept in its training; 0 where it was not.
    ``training``: what its trainer noted about the loss, such as the recogniser and what its features counted.
    """

    adapter: Adapter
    fingerprint: bytes
    base_lambda: float = 0.0
    training: dict[str, Any] = field(default_factory=dict, compare=False)

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.adapter.name

    @property
    def base_step(self) -> int | None:
        """The rate step of the base in its training, None where the base has one rate or was trained at all of them."""
        gain = self.adapter.base.gain
        if gain is None or not self.base_lambda:
            return None
        return round(gain.rate_of(self.base_lambda) * Q_STEPS)

    @cached_property
    def exact(self) -> Adapter:
        """A float64 copy on the CPU, where it decides a probability: that runs there."""
        halves = ("gains", "for_entropy")
        if all(getattr(type(self.adapter), half) is getattr(Adapter, half) for half in halves):
            return self.adapter
        return copy.deepcopy(self.adapter).cpu().double()


def base_fingerprint(network: CompressionModel) -> str:
    """Identify all weights of a base, rounded to half precision as model files store them."""
    return _digest(network.state_dict(), network.config.to_json()).hex()


@default_settings()
def save_adapter(
    adapter: Adapter,
    network: CompressionModel,
    path: str | Path,
    base_lambda: float = 0.0,
    training: dict[str, Any] | None = None,
) -> None:
    """Write ``adapter``, made for ``network``, with notes on its training, which do not change its fingerprint.

    ``base_lambda``: see ``StoredAdapter``. Raises UsageError for weights that are not finite in half precision.
    """
    tensors = {name: _half(value) for name, value in adapter.state_dict().items()}
    for name, value in tensors.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise UsageError(f"cannot store adapter {adapter.name}: {name} is not finite in half precision")
    metadata = {
        "format": FORMAT,
        "about": _about(adapter, base_lambda),
        "base": base_fingerprint(network),
        "base_name": network.config.name,
    }
    if training:
        metadata["training"] = json.dumps(training, sort_keys=True)
    metadata["fingerprint"] = _digest(tensors, metadata["about"] + metadata["base"]).hex()
    with atomic_write(Path(path), overwrite=True) as file:
        file.write(save(tensors, metadata))


@default_settings()
def load_adapter(path: str | Path, network: CompressionModel, base: str | None = None) -> StoredAdapter:
    """Read an adapter for ``network``: from its file, or by name where it ships with the package or has no parameters.

    ``base``: fingerprint of the network, where it is known. Raises ModelMismatchError where the adapter is foreign or
    damaged, OtherBaseError where it was made for another base, and UsageError for unknown kinds.
    """
    ours = base_fingerprint(network) if base is None else base
    if str(path) in PARAMETER_FREE:
        adapter = adapter_class(str(path))(network.config)
        return StoredAdapter(adapter.eval(), _digest({}, _about(adapter) + ours))
    if not Path(path).is_file():
        path = _shipped(str(path), network, ours)
    metadata, tensors = read_tensor_file(path, "adapter", FORMAT)
    fingerprint = _digest(tensors, metadata["about"] + metadata["base"])
    if fingerprint.hex() != metadata["fingerprint"]:
        raise ModelMismatchError(f"adapter file {path} is damaged: its tensors do not have the fingerprint it states")
    about = json.loads(metadata["about"])
    if metadata["base"] != ours:
        raise OtherBaseError(
            f"adapter {about['name']} was trained on {metadata['base_name']} {metadata['base']}, this base is "
            f"{network.config.name} {ours}; load that base (--model), or train the adapter anew on this one"
        )
    kind = adapter_class(about["kind"])
    with about_to_load():
        adapter = kind(network.config, name=about["name"], **about["options"]).float()
    adapter.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in tensors.items()})
    base_lambda = _base_lambda(about, network.config.gain, path)
    return StoredAdapter(adapter.eval().requires_grad_(False), fingerprint, base_lambda, _training(metadata, path))


class LoadedAdapters:
    """Adapters for one network, each read from its file once; the network's weights, which never change in a codec, are
    hashed once.
    """

    def __init__(self, network: CompressionModel) -> None:
        self._network = network
        self._base: BoundedCache[str, str] = BoundedCache(1)
        self._stored: BoundedCache[tuple[object, ...], StoredAdapter] = BoundedCache(MOST_FILES)

    @property
    def base(self) -> str:
        """Fingerprint of the network, as adapter files state it."""
        return self._base.get("", partial(base_fingerprint, self._network))

    def load(self, path: str | Path) -> StoredAdapter:
        """As ``load_adapter``, again only where the file has changed since. Raises as it does."""
        make = partial(load_adapter, path, self._network, self.base)
        return self._stored.get(_identity(path), make, _is_current)

    @property
    def shipped(self) -> tuple[StoredAdapter, ...]:
        """All that the package has for this base, newest first."""
        return tuple(map(self.load, self._shipped_files))

    @cached_property
    def _shipped_files(self) -> tuple[Path, ...]:
        return tuple(adapter.path for adapter in shipped_adapters() if adapter.base == self.base)


def _identity(path: str | Path) -> tuple[object, ...]:
    """Of a file's content, or of what is no file: a name that ships or needs none."""
    if not Path(path).is_file():
        return (str(path),)
    facts = Path(path).stat()
    return str(Path(path).resolve()), facts.st_ino, facts.st_mtime_ns, facts.st_size


def _is_current(stored: StoredAdapter) -> bool:
    """Return whether the program has not defined its kind anew."""
    return Adapter.kinds.get(stored.adapter.kind) is type(stored.adapter)


def _shipped(name: str, network: CompressionModel, fingerprint: str) -> Path:
    """Return the file of the adapter of that name in the package. Raises ModelMismatchError, OtherBaseError."""
    adapter = find_adapter(name, fingerprint)
    if adapter is not None:
        return adapter.path
    bases = sorted({a.base_name for a in shipped_adapters() if a.name == name})
    if bases:
        raise OtherBaseError(
            f"adapter {name} ships for {' and '.join(bases)}; this base is another: {network.config.name} {fingerprint}"
        )
    here = ", ".join(sorted({a.name for a in shipped_adapters() if a.base == fingerprint} | set(PARAMETER_FREE)))
    raise ModelMismatchError(f"there is no adapter {name!r}: it is neither a file nor shipped for this base ({here})")


def adapter_class(kind: str) -> type[Adapter]:
    """Return the class of a kind.

    Raises UsageError for kinds that neither the package nor the running program defines.
    """
    if kind not in Adapter.kinds and kind in BUILT_IN:
        import_module(BUILT_IN[kind])
    if kind not in Adapter.kinds:
        known = ", ".join(sorted(BUILT_IN | Adapter.kinds.keys()))
        raise UsageError(
            f"unknown kind of adapter {kind!r}; known are {known}; import the module that defines it first"
        )
    return Adapter.kinds[kind]


def _about(adapter: Adapter, base_lambda: float = 0.0) -> str:
    about: dict[str, object] = {"kind": adapter.kind, "name": adapter.name, "options": adapter.options}
    return json.dumps(about | ({"base_lambda": base_lambda} if base_lambda else {}), sort_keys=True)


def _base_lambda(about: dict[str, Any], gain: Gain | None, path: str | Path) -> float:
    """Return the trade-off of the base that the adapter was trained at, 0 for none. Raises ModelMismatchError for one
    that the base does not have.
    """
    value = about.get("base_lambda", 0.0)
    fits = isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0
    if fits and value and gain is not None:
        fits = 0 <= round(gain.rate_of(value) * Q_STEPS) <= Q_STEPS
    if not fits:
        raise ModelMismatchError(f"adapter file {path} is damaged: its base has no rate at lambda {value!r}")
    return float(value)


def _training(metadata: dict[str, str], path: str | Path) -> dict[str, Any]:
    """Return the notes on its training, which no fingerprint covers. Raises ModelMismatchError for what are none."""
    try:
        training = json.loads(metadata.get("training", "{}"))
    except (ValueError, RecursionError):
        training = None
    if not isinstance(training, dict):
        raise ModelMismatchError(f"adapter file {path} is damaged: its notes on training are no JSON object")
    return training


def _half(value: Tensor) -> Tensor:
    value = value.detach().cpu().contiguous()
    return value.half() if value.is_floating_point() else value


def _digest(tensors: dict[str, Tensor], about: str) -> bytes:
    digest = hashlib.sha256(about.encode())
    for name in sorted(tensors):
        value = _half(tensors[name])
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.numpy().tobytes())
    return digest.digest()[:FINGERPRINT_BYTES]
