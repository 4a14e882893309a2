"""Import checkpoints of the papers' own code: a base as a model file, and its prompts as an adapter file beside it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from promptcodec.errors import ModelMismatchError, UsageError
from promptcodec.importers.bases import from_reference
from promptcodec.importers.prompts import split_prompts
from promptcodec.importers.song import from_song
from promptcodec.model.base import CompressionModel
from promptcodec.model.config import Model
from promptcodec.model.inference.defaults import about_to_load, default_settings
from promptcodec.model.presets.papers import tic_context
from promptcodec.model.presets.song import song
from promptcodec.model.presets.tic import tic
from promptcodec.steer.adapter import Adapter
from promptcodec.steer.adapter_file import save_adapter
from promptcodec.steer.methods.pyramid import rate_and_region
from promptcodec.steer.methods.song import QualityMap
from promptcodec.steer.methods.transtic import TransTIC
from promptcodec.store.model_file import save_model
from promptcodec.system.utf8_path import utf8_path

SOURCES = ("transtic", "kao", "tic", "tic-cam", "song")


@default_settings()
def import_checkpoint(source: str, checkpoint: str | Path, target: str | Path, name: str = "") -> list[Path]:
    """Write ``target``, a model file, and ``target`` with ``.adapter`` in its name where there are prompts.

    ``source``: ``transtic`` (paper 002: base codecs and tasks), ``kao`` (Kao et al. 2023), ``tic`` (the hyperprior
    codec alone), ``tic-cam`` (TIC as its authors publish it, with causal attention context) or ``song`` (Song et al.
    2021: a base, and the quality map as its adapter). Prompts keep the mask that they were trained with
    (``compat_mask``). Returns what was written. Raises ModelMismatchError for files that are no such checkpoint,
    UsageError for other sources.
    """
    if source not in SOURCES:
        raise UsageError(f"checkpoints come from {', '.join(SOURCES)}, not from {source!r}")
    state = read_checkpoint(checkpoint)
    try:
        cfg, base, prompts = _READERS.get(source, _read_tic)(state)
        with about_to_load():
            model = CompressionModel(replace(cfg, name=name or source)).float()
        model.load_state_dict(base)
    except (KeyError, RuntimeError, UsageError) as error:
        raise ModelMismatchError(f"{checkpoint} is no checkpoint of {source}: {str(error).splitlines()[0]}") from None
    save_model(model, target, "imported")
    written = [Path(target)]
    if prompts:
        with about_to_load():
            adapter = _adapter(source, model, prompts, name).float()
        try:
            adapter.load_state_dict(prompts)
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise ModelMismatchError(f"what steers in {checkpoint} is not that of {source}: {reason}") from None
        written.append(Path(target).with_suffix(".adapter" + Path(target).suffix))
        save_adapter(adapter, model, written[-1])
    return written


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """Return the parameters in a pickled or safetensors checkpoint. Pickles are read as tensors and nothing else.

    Raises ModelMismatchError where there are none.
    """
    try:
        if str(path).endswith(".safetensors"):
            from safetensors.torch import load_file

            with utf8_path(path) as name:
                return load_file(name)
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ModelMismatchError(f"checkpoint {path} cannot be read: {error}") from None
    except Exception as error:  # a damaged pickle raises whatever its bytes lead to
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ModelMismatchError(
            f"checkpoint {path} holds something else than tensors, or is damaged: {reason}"
        ) from None
    for key in ("state_dict", "model", "net"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(isinstance(v, Tensor) for v in content.values()):
        raise ModelMismatchError(f"checkpoint {path} holds no parameters by name")
    return {str(k): v for k, v in content.items()}


Read = tuple[Model, dict[str, Tensor], dict[str, Tensor]]  # what a checkpoint holds: base, adapter if there is one


def _read_tic(state: Mapping[str, Tensor]) -> Read:
    base, prompts = split_prompts(state)
    channels, latent = base["g_a0.weight"].shape[0], base["g_a6.weight"].shape[0]
    return tic(channels, latent), from_reference(base), prompts


def _read_tic_cam(state: Mapping[str, Tensor]) -> Read:
    """Return the depths of the stages are those of the checkpoint: its authors changed them in 2024."""
    base = from_reference(state)
    stages = (("g_a", 1), ("g_a", 3), ("g_a", 5), ("h_a", 1), ("h_a", 3))
    depths = tuple(_depth(base, f"{transform}.layers.{layer}.blocks") for transform, layer in stages)
    channels, latent = base["g_a.layers.0.weight"].shape[0], base["g_a.layers.6.weight"].shape[0]
    return tic_context(channels, latent, depths), base, {}


def _depth(state: Mapping[str, Tensor], prefix: str) -> int:
    matches = (re.match(rf"{re.escape(prefix)}\.(\d+)\.", key) for key in state)
    return len({match[1] for match in matches if match})


def _read_song(state: Mapping[str, Tensor]) -> Read:
    base, conditioning = from_song(state)
    return song(base["g_a.layers.12.weight"].shape[0]), base, conditioning


_READERS = {"tic-cam": _read_tic_cam, "song": _read_song}


def _adapter(source: str, model: CompressionModel, prompts: Mapping[str, Tensor], name: str) -> Adapter:
    """Return the adapter that the prompts' names and shapes belong to."""
    if source == "kao":
        return rate_and_region(model.config, compat_mask=True, name=name or source)
    if source == "song":
        condition, hidden = (
            prompts[key].shape[0] for key in ("analysis.first.4.weight", "transforms.g_a.0.0.shared.weight")
        )
        return QualityMap(model.config, name or source, condition=condition, hidden=hidden)
    if source == "tic":
        raise ModelMismatchError("the checkpoint has prompts: it is one of transtic or kao")
    encoder = any(key.startswith("encoder.") for key in prompts)
    tokens = [v for k, v in prompts.items() if k.startswith("decoder.tokens.")]
    stages = sorted(int(k.rpartition(".")[2]) for k in prompts if k.startswith("decoder.tokens."))
    return TransTIC(
        model.config, name or source,
        encoder="generated" if encoder else "none", decoder="tokens" if tokens else "none",
        prompts=tokens[0].shape[1] if tokens else 16, decoder_stages=stages or None, compat_mask=True,
    )  # fmt: skip
