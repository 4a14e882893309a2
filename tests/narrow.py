"""Narrow models of any configuration's structure: the same layers, an eighth as wide, two blocks a stage at most."""

import dataclasses

from promptcodec.model import config

FACTOR = 8
HEADS = 2
DEPTH = 2  # one block whose windows are shifted, one whose are not
COLOURS = 3


def narrow(model: config.Model) -> config.Model:
    """``model`` with an eighth of its channels, two heads in every attention, and two blocks a stage at most."""
    context = model.context
    if isinstance(context, config.SpaceChannel):
        groups, hidden = (tuple(_width(c) for c in widths) for widths in (context.groups, context.hidden))
        context = dataclasses.replace(context, groups=groups, hidden=hidden)
    elif isinstance(context, config.CausalAttention):
        context = dataclasses.replace(context, heads=HEADS)
    elif isinstance(context, config.ContextualMean):
        features = _transform(context.features)
        context = dataclasses.replace(context, features=features, hidden=_width(context.hidden))
    names = ("analysis", "synthesis", "hyper_analysis", "hyper_synthesis")
    return dataclasses.replace(model, context=context, **{name: _transform(getattr(model, name)) for name in names})


def _transform(transform: config.Transform) -> config.Transform:
    layers = tuple(_layer(layer) for layer in transform.layers)
    return dataclasses.replace(transform, in_channels=_width(transform.in_channels), layers=layers)


def _layer(layer: config.Layer) -> config.Layer:
    if isinstance(layer, (config.Resample, config.ReflectConv)):
        return dataclasses.replace(layer, channels=_width(layer.channels))
    if isinstance(layer, config.Stage):
        mixer = layer.mixer
        if isinstance(mixer, config.Attention):
            mixer = dataclasses.replace(mixer, heads=HEADS)
        return dataclasses.replace(layer, mixer=mixer, depth=min(layer.depth, DEPTH))
    return layer


def _width(channels: int) -> int:
    return channels if channels == COLOURS else channels // FACTOR
