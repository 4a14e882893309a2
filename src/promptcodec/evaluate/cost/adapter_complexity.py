"""Multiply-accumulates and parameters that adapters add to a model, side by side with ``evaluate.cost.complexity``.

An adapter's own networks are run on ``meta`` tensors, where nothing is computed, and counted call by call; what its
prompts add to the attention of the base is arithmetic: with p prompts in a window of w tokens and a width of C,
(3C²p + 2pwC)/w a token as the papers' code computes it, projecting prompts to queries, keys and values in every window.
We project each prompt once a map, and to no query; the difference is ``Macs.saved``.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from promptcodec.evaluate.cost.complexity import Macs, Part
from promptcodec.model import config
from promptcodec.model.config import STRIDE
from promptcodec.model.steering import BlockSteer, Decoded, Prompt, Site, Steering, TransformName
from promptcodec.steer.adapter import Adapter
from promptcodec.steer.controls import Controls
from promptcodec.steer.methods.channels import ChannelSelection
from promptcodec.steer.sites import SiteInfo, StageInfo, stages

_SLOPE = 0.2  # of the rectifiers that the papers' code calls as functions, which a counter of layers does not see


def adapter_parts(adapters: Sequence[Adapter], height: int, width: int) -> list[Part]:
    """Count what ``adapters``, stacked, add for a picture of ``height`` x ``width`` pixels, by transform.

    Kinds: ``adapter`` is the adapters' own networks, ``prompts`` what theirs cost in the base's attention.
    Parameters count where they are first used. The network ``task`` is one that takes the synthesis' place.
    """
    parts: list[Part] = []
    for adapter in adapters:
        work = _Pass(copy.deepcopy(adapter).to("meta").eval(), height, width)
        parts += work.parts()
        if isinstance(work.adapter, ChannelSelection) and work.adapter.transform is not None:
            parts.append(work.task(work.adapter.transform))
    return parts


class _Pass:
    """One adapter's work for one picture."""

    def __init__(self, adapter: Adapter, height: int, width: int) -> None:
        self.adapter, self.base, self.seen = adapter, adapter.base, set[int]()
        self.rows, self.cols = -(-height // STRIDE), -(-width // STRIDE)

    def parts(self) -> list[Part]:
        adapter, cfg = self.adapter, self.base
        x = self._map(cfg.analysis.in_channels, 64)
        y, z = self._map(cfg.latent_channels, 4), self._map(cfg.hyper_channels, 1)
        scalars = {name: torch.empty(1, device="meta") for name in (*adapter.signals, *getattr(adapter, "scalars", ()))}
        controls = Controls(scalars, {name: self._map(1, 64) for name in adapter.maps})
        return [
            *self._half("g_a", lambda: adapter.for_encoder(x, controls)),
            *self._half("h_a", lambda: adapter.for_hyper(y, controls)),
            *self._half("h_s", lambda: adapter.for_entropy(Decoded(z), controls)),
            *self._half("h_m", lambda: adapter.for_entropy(Decoded(z), controls)),
            *self._half("h_s", lambda: Steering(gains=adapter.gains(controls))),
            *self._half("g_s", lambda: adapter.for_decoder(Decoded(z, y), controls)),
        ]

    def task(self, transform: nn.Module) -> Part:
        """Count a network from ŷ to a recogniser's features."""
        counter = _Counter()
        with torch.no_grad(), counter:
            transform(self._map(self.base.latent_channels, 4))
        return Part("task", "adapter", sum(p.numel() for p in transform.parameters()), counter.macs)

    def _half(self, name: TransformName, steer: Callable[[], Steering]) -> list[Part]:
        counter = _Counter()
        with torch.no_grad(), counter:
            steering = steer()
            prompts = Macs()
            for stage in stages(self.base, name):
                for site in (stage.output, *(block.site for block in stage.blocks)):
                    for output in steering.sites.get(site, BlockSteer()).outputs:
                        output(self._features(stage))
                prompts += self._prompts(steering, stage)
        parameters = sum(p.numel() for key, p in counter.parameters.items() if key not in self.seen)
        self.seen |= counter.parameters.keys()
        if not steering.sites and not parameters:
            return []
        networks = Part(name, "adapter", parameters, counter.macs)
        return [networks, Part(name, "prompts", 0, prompts)] if prompts != Macs() else [networks]

    def _prompts(self, steering: Steering, stage: StageInfo) -> Macs:
        """Count what prompts add to the attention of a stage; carried ones work in all of its blocks."""
        macs, carried = Macs(), tuple[Prompt, ...]()
        for block in stage.blocks:
            steer = steering.sites.get(block.site, BlockSteer())
            prompts = [*carried, *(prompt.resolve() for prompt in steer.prompts)]
            for prompt in prompts:
                macs += _in_attention(prompt, block, *self._size(block.site), last=block is stage.blocks[-1])
            carried = tuple(prompt for prompt in prompts if prompt.carry)
        return macs

    def _features(self, stage: StageInfo) -> Tensor:
        return torch.empty(1, stage.channels, *self._size(stage.output), device="meta")

    def _size(self, site: Site) -> tuple[int, int]:
        scale = _scale(self.base, site)
        return int(self.rows * scale), int(self.cols * scale)

    def _map(self, channels: int, scale: int) -> Tensor:
        return torch.empty(1, channels, self.rows * scale, self.cols * scale, device="meta")


def _scale(cfg: config.Model, site: Site) -> float:
    """Return the elements a side of a stage's map for one of z."""
    scale = {"g_a": 64.0, "h_a": 4.0, "h_s": 1.0, "h_m": 1.0, "g_s": 4.0}[site.transform]
    for stage in stages(cfg, site.transform)[: site.stage + 1]:
        for layer in stage.before:
            down = isinstance(layer, config.ReflectConv) or layer.kind == "down"
            scale = scale / layer.stride if down else scale * layer.stride
    return scale


def _in_attention(prompt: Prompt, block: SiteInfo, height: int, width: int, last: bool) -> Macs:
    tokens, window, channels = height * width, block.window**2, block.channels
    windows = tokens / window
    count = window / prompt.stride**2 if prompt.is_map else prompt.tokens.shape[-2]  # a window
    projected = count * windows if prompt.is_map else count  # once a map
    macs = Macs(
        products=3.0 * channels**2 * count * windows,
        attention=2.0 * tokens * count * channels,
        saved=3.0 * channels**2 * count * windows - 2.0 * channels**2 * projected,
    )
    if not prompt.carry:
        return macs
    # Updated: queries as well, of all keys, and projected; paper 002's figures have it in the last block too.
    update = Macs(products=channels**2 * count * windows, attention=2.0 * count * (count + window) * channels * windows)
    query = channels**2 * projected
    return macs + update + Macs(saved=update.products + update.attention if last else -query)


class _Counter(TorchFunctionMode):
    """Counts the layers that are called within, and collects the parameters that they use, by identity."""

    def __init__(self) -> None:
        super().__init__()
        self.macs, self.parameters = Macs(), dict[int, nn.Parameter]()

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        for value in (*args, *kwargs.values()):
            if isinstance(value, nn.Parameter):
                self.parameters[id(value)] = value
        out = func(*args, **kwargs)
        if isinstance(out, Tensor):
            self.macs += _counted(func, args, kwargs, out)
        return out


def _counted(func: Any, args: Sequence[Any], kwargs: dict[str, Any], out: Tensor) -> Macs:
    size = float(out.numel())
    if func in (F.conv2d, F.conv_transpose2d):
        x, weight = args[0], args[1]
        bias = args[2] if len(args) > 2 else kwargs.get("bias")
        inputs, outputs = (float(t.numel() // t.shape[1]) for t in (x, out))
        up = func is F.conv_transpose2d
        products = weight.numel() * (inputs if up else outputs)
        transposed = products * (outputs / inputs - 1) if up else 0.0
        return Macs(products=products, transposed=transposed, biases=size if bias is not None else 0.0)
    if func is F.linear:
        return Macs(products=size * args[1].shape[1])
    return Macs(elementwise=_elementwise(func, args, kwargs, size))


def _elementwise(func: Any, args: Sequence[Any], kwargs: dict[str, Any], size: float) -> float:
    if func is F.batch_norm:
        return 2 * size
    if func is F.leaky_relu:
        slope = args[1] if len(args) > 1 else kwargs.get("negative_slope")
        return 0.0 if slope == _SLOPE else size
    if func in (F.max_pool2d, torch.max_pool2d):
        return float(args[0].numel())
    return size if func in (F.relu, F.interpolate) else 0.0
