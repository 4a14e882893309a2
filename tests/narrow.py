"""Narrow models of any configuration's structure: every layer and block is there, an eighth as wide."""

import dataclasses

from promptcodec.model import config

FACTOR = 8
HEADS = 2
COLOURS = 3


def narrow(model: config.Model) -> config.Model:
    """``model`` with an eighth of its channels and two heads in every attention."""
    context = model.context
    if isinstance(context, config.SpaceChannel):
        groups, hidden = (tuple(_width(c) for c in widths) for widths in (context.groups, context.hidden))
        context = dataclasses.replace(context, groups=groups, hidden=hidden)
    elif isinstance(context, config.CausalAttention):
        context = dataclasses.replace(context, heads=HEADS)
    names = ("analysis", "synthesis", "hyper_analysis", "hyper_synthesis")
    return dataclasses.replace(model, context=context, **{name: _transform(getattr(model, name)) for name in names})


def _transform(transform: config.Transform) -> config.Transform:
    layers = tuple(_layer(layer) for layer in transform.layers)
    return dataclasses.replace(transform, in_channels=_width(transform.in_channels), layers=layers)


def _layer(layer: config.Layer) -> config.Layer:
    if isinstance(layer, (config.Resample, config.ReflectConv)):
        return dataclasses.replace(layer, channels=_width(layer.channels))
    if isinstance(layer, config.Stage) and isinstance(layer.mixer, config.Attention):
        return dataclasses.replace(layer, mixer=dataclasses.replace(layer.mixer, heads=HEADS))
    return layer


def _width(channels: int) -> int:
    return channels if channels == COLOURS else channels // FACTOR
