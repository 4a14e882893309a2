"""Steering as data: tensors that condition a frozen model, kept by the place in the network where they act.

A model takes a ``Steering`` and asks nothing of where it came from. ``Steering()`` changes no bit of any output.

Under autocast a transform runs in bfloat16 but for its last layer, which is float32, while steering is of the type that
its adapter made it in. Where it meets tokens it is brought to their precision: ``in_precision_of``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

import torch
from torch import Tensor

# h_m: what makes contextual means, the features' stages and then the mean network; other models have no such sites.
TransformName = Literal["g_a", "h_a", "h_s", "h_m", "g_s"]


@dataclass(frozen=True, order=True)
class Site:
    """A place where steering acts: block ``block`` of stage ``stage`` of a transform, or with -1 the stage's output.

    Both are counted from 0 in the order of computation; resampling layers are not counted.
    """

    transform: TransformName
    stage: int
    block: int = -1

    def __str__(self) -> str:
        end = f", block {self.block}" if self.block >= 0 else "'s output"
        return f"{self.transform} stage {self.stage}{end}"


@dataclass(frozen=True)
class Prompt:
    """Tokens that a block's attention takes as further keys and values, with zero relative bias, not normalised.

    ``tokens``: one set for all windows, (P, C) or (B, P, C), or a map (B, C, ceil(H/stride), ceil(W/stride)) whose
    tokens are seen from where their region of the shifted map is. ``carry`` updates the tokens in the attention and
    hands them to the stage's next block (paper 002, A3.1: "shallow"). ``compat_mask`` reproduces a bug of the code of
    papers 002 and Kao et al. for weights that were trained with it: there, in shifted blocks, the mask's columns stand
    image first, although the keys stand prompts first.
    """

    tokens: Tensor
    stride: int = 2
    carry: bool = False
    compat_mask: bool = False

    @property
    def is_map(self) -> bool:
        """Whether the tokens have places."""
        return self.tokens.dim() == 4

    @property
    def channels(self) -> int:
        """Width of a token."""
        return self.tokens.shape[1 if self.is_map else -1]

    def resolve(self) -> Prompt:
        """Return itself: it is there."""
        return self


@dataclass(frozen=True)
class DeferredPrompt:
    """A prompt that is made when its block is reached, of what passed an earlier site of the same transform.

    ``make`` is called once a pass; ``channels`` is the width of what it makes. It is not carried on.
    """

    make: Callable[[], Prompt]
    channels: int
    carry: Literal[False] = False

    def resolve(self) -> Prompt:
        """Return the prompt."""
        return self.make()


@dataclass(frozen=True)
class Affine:
    """x * (1 + scale) + shift; both (B or 1, C, 1, 1) or (B or 1, C, H, W), None for zero."""

    scale: Tensor | None = None
    shift: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """Apply to x (B, C, H, W)."""
        if self.scale is not None:
            x = x * (1 + in_precision_of(x, self.scale))
        return x if self.shift is None else x + in_precision_of(x, self.shift)


@dataclass(frozen=True)
class Conditioned:
    """``layer(x, condition)``, for a layer of an adapter and the condition (B, P, h, w) that it made beforehand."""

    layer: Callable[[Tensor, Tensor], Tensor]
    condition: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Apply to x (B, C, H, W)."""
        return self.layer(x, in_precision_of(x, self.condition))


Output = Affine | Conditioned | Callable[[Tensor], Tensor]  # maps (B, C, H, W) to the same shape


@dataclass(frozen=True)
class BlockSteer:
    """What acts at one site: prompts into its attention, then functions of its output, in order."""

    prompts: tuple[Prompt | DeferredPrompt, ...] = ()
    outputs: tuple[Output, ...] = ()

    def then(self, other: BlockSteer) -> BlockSteer:
        """Return both: prompts concatenate, outputs apply one after the other."""
        return BlockSteer(self.prompts + other.prompts, self.outputs + other.outputs)

    def prompts_for(self, x: Tensor) -> tuple[Prompt, ...]:
        """Return the prompts, made by now, as the attention over tokens x (B, H, W, C) takes them."""
        prompts = (prompt.resolve() for prompt in self.prompts)
        return tuple(replace(prompt, tokens=in_precision_of(x, prompt.tokens)) for prompt in prompts)

    def finish(self, x: Tensor) -> Tensor:
        """Apply the outputs to x (B, C, H, W), whose precision stays."""
        for output in self.outputs:
            x = in_precision_of(x, output(x))
        return x


@dataclass(frozen=True)
class Gains:
    """Factors of y and z before quantisation, and of their decoded values: (B, C, 1, 1), or with a height and width."""

    y: Tensor | float = 1.0
    y_inverse: Tensor | float = 1.0
    z: Tensor | float = 1.0
    z_inverse: Tensor | float = 1.0

    def times(self, other: Gains) -> Gains:
        """Return both, one after the other."""
        return Gains(
            _times(self.y, other.y),
            _times(self.y_inverse, other.y_inverse),
            _times(self.z, other.z),
            _times(self.z_inverse, other.z_inverse),
        )


TransformSteer = Mapping[tuple[int, int], BlockSteer]  # by stage and block, within one transform


@dataclass(frozen=True)
class Steering:
    """All that conditions one pass: what acts at which site, gains, and which latents are kept.

    ``keep_y`` and ``keep_z`` are masks (1 or B, 1 or C, 1 or h, 1 or w): where 1, an element is coded as it is,
    where 0, as the symbol 0, its likeliest value. Only the encoder needs them. ``region`` (B, 1, H, W) in [0, 1] says
    where the N-gram context of g_a acts (paper 003: in semantically important regions), everywhere by default.
    """

    sites: Mapping[Site, BlockSteer] = field(default_factory=dict)
    gains: Gains = field(default_factory=Gains)
    keep_y: Tensor | None = None
    keep_z: Tensor | None = None
    region: Tensor | None = None

    def then(self, other: Steering) -> Steering:
        """Compose in order: this one acts first."""
        sites = dict(self.sites)
        for site, steer in other.sites.items():
            sites[site] = sites[site].then(steer) if site in sites else steer
        gains = self.gains.times(other.gains)
        masks = ((getattr(self, name), getattr(other, name)) for name in ("keep_y", "keep_z", "region"))
        return Steering(sites, gains, *(_both(a, b) for a, b in masks))

    def within(self, transform: TransformName) -> TransformSteer:
        """Return the part that acts in one transform."""
        return {(site.stage, site.block): s for site, s in self.sites.items() if site.transform == transform}


@dataclass(frozen=True)
class Decoded:
    """What a decoder knows: ``z`` (B, N, h/64, w/64) as the hyper synthesis sees it.

    ``y`` (B, M, h/16, w/16) as the synthesis sees it, None before it is known.
    """

    z: Tensor
    y: Tensor | None = None


class Steerer(Protocol):
    """Makes the steering of every part of a pass from what that part may know."""

    def for_encoder(self, x: Tensor) -> Steering:
        """Return the sites in g_a and h_a, gains and masks, from the padded picture (B, 3, h, w) in [0, 1]."""

    def for_hyper(self, y: Tensor) -> Steering:
        """Return further sites in h_a, and masks, from y (B, M, h/16, w/16) before gains."""

    def for_entropy(self, decoded: Decoded) -> Steering:
        """Return the sites in h_s and h_m, from ẑ."""

    def for_decoder(self, decoded: Decoded) -> Steering:
        """Return the sites in g_s, from ẑ and ŷ."""

    def importance(self) -> Tensor | None:
        """Return how much the error of a place counts, (B, 1, h/16, w/16); None where all count the same."""


@dataclass(frozen=True)
class Constant:
    """The same steering for all parts of a pass."""

    steering: Steering = field(default_factory=Steering)

    def for_encoder(self, x: Tensor) -> Steering:
        """Return all of it."""
        return self.steering

    def for_hyper(self, y: Tensor) -> Steering:
        """Return nothing more."""
        return Steering()

    def for_entropy(self, decoded: Decoded) -> Steering:
        """Return all of it."""
        return self.steering

    def for_decoder(self, decoded: Decoded) -> Steering:
        """Return all of it."""
        return self.steering

    def importance(self) -> None:
        """Return None: all places count the same."""


def in_precision_of(x: Tensor, steering: Tensor) -> Tensor:
    """Return ``steering`` as it acts on tokens ``x``: in their type, but for float64, which nothing is promoted to.

    Probabilities go by float64: what was made in fewer bits must not pass for it.
    """
    return steering if x.dtype == torch.float64 else steering.to(x.dtype)


def _times(a: Tensor | float, b: Tensor | float) -> Tensor | float:
    return a if isinstance(b, float) and b == 1.0 else b if isinstance(a, float) and a == 1.0 else a * b


def _both(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    return b if a is None else a if b is None else a * b
