"""Set what a run begins with: weights of another model, or a linear codec, or chance."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import torch
from torch import Tensor

from promptcodec.errors import UsageError
from promptcodec.model import config
from promptcodec.model.base import CompressionModel
from promptcodec.store.model_file import load_model
from promptcodec.store.shipped import find_model
from promptcodec.train.growth import grow, grows
from promptcodec.train.linear_start import linear_start

START_CROPS = 1024  # whose statistics a linear codec, or a larger model, begins with


def start_afresh(model: CompressionModel, linear: bool, first_crops: Callable[[int], Tensor]) -> str:
    """Begin without weights of another model, from a ``linear`` codec or chance; returns which, for people."""
    if not linear:
        return "chance"
    linear_start(model, first_crops(START_CROPS).cpu())
    return "a linear codec"


def start_from(
    model: CompressionModel, name: str, start_lambda: float = 0.0, crops: Callable[[int], Tensor] | None = None
) -> None:
    """Set ``model`` to the weights of the model file or shipped model ``name``.

    A fixed-rate model may start one that only adds a variable rate: its gains are set to one at ``start_lambda``, the
    trade-off that the weights were trained for, so that the run begins where the other one ended. A smaller model may
    start one that ``train.growth`` can make of it, with the help of ``crops``. Raises UsageError where the two do not
    fit.
    """
    stored = load_model(find_model(name)).network
    gain = model.gain
    if crops is not None and _shape(stored.config) != _shape(model.config) and grows(stored.config, model.config):
        pictures = crops(START_CROPS)
        grow(model, stored.to(pictures.device), pictures)
        return
    if gain is None or stored.gain is not None:
        if _shape(stored.config) != _shape(model.config):
            raise UsageError(f"{name} cannot start this run: its configuration is not that of {model.config.name}")
        model.load_state_dict(stored.state_dict())
        return
    if _shape(dataclasses.replace(stored.config, gain=model.config.gain)) != _shape(model.config):
        raise UsageError(f"{name} cannot start this run: {model.config.name} adds more to it than a variable rate")
    if not gain.lambda_min <= start_lambda <= gain.lambda_max:
        raise UsageError(
            f"start_lambda is {start_lambda}: expected the fixed lambda of {name}, "
            f"between {gain.lambda_min} and {gain.lambda_max}"
        )
    gains: dict[str, Tensor] = {k: v for k, v in model.state_dict().items() if k.startswith("gain.")}
    model.load_state_dict(stored.state_dict() | gains)
    centre = math.sqrt(gain.lambda_min * gain.lambda_max)  # where gains are one by themselves
    with torch.no_grad():
        gain.y.add_(0.5 * math.log(centre / start_lambda))
        gain.y_inverse.sub_(0.5 * math.log(centre / start_lambda))


def _shape(model: config.Model) -> config.Model:
    """Return ``model`` without what changes no tensor: its name, and how often blocks are dropped in training."""
    parts = ("analysis", "synthesis", "hyper_analysis", "hyper_synthesis")
    return dataclasses.replace(
        model, name="", **{part: dataclasses.replace(getattr(model, part), drop_path=0.0) for part in parts}
    )
