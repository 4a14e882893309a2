"""What the latents of one picture cost, in bits: those that a file takes, and the error at a price in bits."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from promptcodec.model.base import CompressionModel
from promptcodec.model.config import LATENTS_A_SIDE, STRIDE
from promptcodec.model.entropy.prior import gaussian_likelihood
from promptcodec.model.entropy.schedule import Step, Where, assembled, run
from promptcodec.model.layers.transforms import full_precision, pad_to_multiple
from promptcodec.model.rate_distortion import rate_distortion
from promptcodec.model.steering import Decoded, Gains, Steerer, Steering

PLACE = STRIDE // LATENTS_A_SIDE  # pixels along a side for which one element of y a channel stands
_WIDTHS = (2**-0.125, 2**0.125)  # quantisation steps between which a model's trade-off is measured

_Parts = list[tuple[Where, Tensor]]


@dataclass(frozen=True)
class Quantised:
    """Latents as a decoder has them: y's ``symbols``, with the means and scales that they are coded by, all
    (1, M, h/16, w/16) and in units of the symbols; and ẑ (1, N, h/64, w/64), gained, with the bits that it takes."""

    symbols: Tensor
    mean: Tensor
    scale: Tensor
    z: Tensor
    z_bits: float

    @property
    def y(self) -> Tensor:
        """The gained ŷ."""
        return self.symbols + self.mean

    def bits(self) -> Tensor:
        """Return the bits that the symbols of each place take, (1, 1, h/16, w/16)."""
        return symbol_bits(self.symbols, self.scale).sum(1, keepdim=True)


def symbol_bits(symbols: Tensor, scale: Tensor) -> Tensor:
    """Return the bits of each symbol under a Gaussian around zero."""
    return -gaussian_likelihood(symbols, scale).log2()


class LatentCost:
    """λ · 255² · MSE + bits per pixel of one picture's latents, times its pixels.

    ``y`` and ``z`` are those of the analysis, gained; ``keep`` is where y's symbols may differ from zero. Squared
    errors are weighted where the steerer says that places count differently. All in float32: what is coded afterwards
    are the same symbols, as y lies at ŷ.
    """

    def __init__(
        self, model: CompressionModel, x: Tensor, q: Tensor | None, steerer: Steerer, rate_lambda: float | None = None
    ) -> None:
        """Take x: (1, 3, H, W) in [0, 1]; q: (1,) in [0, 1], None for models of one rate. ``rate_lambda``: λ, by
        default the one that q stands for; of models of one rate, whose files do not hold it, see ``_measured_price``.

        Raises UsageError where q does not suit the model.
        """
        self.model, self._x, self._steerer = model, x, steerer
        with torch.no_grad():
            y, z, self._steer = model.analyse(pad_to_multiple(x, STRIDE), steerer)
            gains = model.gains(q).times(self._steer.gains)  # those of a file's adapters are float64, for exactness
        self._gains = Gains(
            *(g.to(y) if isinstance(g, Tensor) else g for g in (gains.y, gains.y_inverse, gains.z, gains.z_inverse))
        )
        self.y, self.z = y * self._gains.y, z * self._gains.z
        self.keep = None if self._steer.keep_y is None else self._steer.keep_y.expand_as(y) > 0.5
        self._height, self._width = x.shape[-2:]
        self._weight = _weight(steerer.importance(), self._height, self._width).to(x.device)
        if rate_lambda is None and model.gain is not None and q is not None:
            rate_lambda = float(model.gain.rate_lambda(q))
        self._price = self._measured_price() if rate_lambda is None else rate_lambda * 255**2 / 3

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the picture, (1, 3, H, W)."""
        return tuple(self._x.shape)

    @property
    def rate_lambda(self) -> float:
        """λ."""
        return 3 * self._price / 255**2

    @property
    def has_trade_off(self) -> bool:
        """Whether bits can be weighed against errors: not where neither changes with the quantisation step."""
        return self._price > 0

    def latents(self, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Steering]:
        """Return y and z before gains, and the encoder's steering, of gained latents: what an analysis would give."""
        return y / self._gains.y, z / self._gains.z, self._steer

    @torch.no_grad()
    def quantise(self, y: Tensor, z: Tensor) -> Quantised:
        """Return gained latents, rounded as the coder rounds them; means are those that earlier parts of y give."""
        medians = self.model.prior.medians
        z_symbols = (z - medians).round()
        z_hat = (z_symbols if self._steer.keep_z is None else z_symbols * (self._steer.keep_z > 0.5)) + medians
        symbols: _Parts = []
        means: _Parts = []
        scales: _Parts = []

        def code(step: Step) -> Tensor:
            residuals = (y[step.where] - step.mean).round()
            if self.keep is not None:
                residuals = residuals * self.keep[step.where]
            for parts, part in zip((symbols, means, scales), (residuals, step.mean, step.scale), strict=True):
                parts.append((step.where, part))
            return residuals + step.mean

        with full_precision(y.device):  # probabilities are never computed in bfloat16
            steer = self._steerer.for_entropy(Decoded(z_hat * self._gains.z_inverse))
            schedule = self.model.schedule(z_hat, self._gains, None, steer.within("h_s"), steer.within("h_m"))
            run(schedule, code, tuple(y.shape))
        z_bits = -float(self.model.prior.likelihood(z_hat).log2().sum())
        shape = tuple(y.shape)
        return Quantised(assembled(symbols, shape), assembled(means, shape), assembled(scales, shape), z_hat, z_bits)

    def of(self, coded: Quantised) -> float:
        """Return the cost of what a decoder has."""
        with torch.no_grad():
            return self._price * float(self._squared_error(coded)) + _all_bits(coded)

    def error_map(self, error: Tensor) -> Tensor:
        """Return the price of an error (1, 3, H, W), place by place: (1, 1, h/16, w/16)."""
        squared = (self._weight * error.square()).sum(1, keepdim=True)
        padded = F.pad(squared, (0, -self._width % STRIDE, 0, -self._height % STRIDE))
        return self._price * PLACE**2 * F.avg_pool2d(padded, PLACE)

    def error(self, y_hat: Tensor, z_hat: Tensor) -> Tensor:
        """Return the error of the picture that a decoder makes of gained latents: (1, 3, H, W)."""
        y = y_hat * self._gains.y_inverse
        steer = self._steerer.for_decoder(Decoded(z_hat * self._gains.z_inverse, y)).within("g_s")
        x_hat: Tensor = self.model.g_s(y, steer)
        return x_hat[..., : self._height, : self._width] - self._x

    def gradient(self, coded: Quantised, probe: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return the price of the error place by place, its gradient in ŷ, and with a ``probe`` the curvature.

        ``probe``: signs (1, 3, H, W), drawn at random. Half the second derivative in an element of ŷ is the price
        times its column's squared norm in the Jacobian of the synthesis, which a back-projection of random signs gives
        in expectation; the mean over a channel's places is (1, M, 1, 1).
        """
        leaf = coded.y.requires_grad_()
        with torch.enable_grad():
            error = self.error(leaf, coded.z)
            total = self._price * (self._weight * error.square()).sum()
        curvature = None
        if probe is not None:
            root = self._weight**0.5
            (projected,) = torch.autograd.grad(error, leaf, root * probe, retain_graph=True)
            curvature = self._price * projected.square().mean((0, 2, 3), keepdim=True)
        (gradient,) = torch.autograd.grad(total, leaf)
        return self.error_map(error.detach()), gradient, curvature

    def relaxed(self, y: Tensor, z: Tensor, rounding: Callable[[Tensor], Tensor]) -> Tensor:
        """Return the cost of gained latents with this rounding; its gradients reach y and z."""
        before = y / self._gains.y, z / self._gains.z
        out = self.model.reconstruct(*before, self._gains, "round", self._steerer, self._steer, rounding)
        out["x_hat"] = out["x_hat"][..., : self._height, : self._width]
        measured = rate_distortion(out, self._x, self._weight)
        return self._price * measured.squared_error.sum() + measured.bits.sum()

    def _squared_error(self, coded: Quantised) -> Tensor:
        return (self._weight * self.error(coded.y, coded.z).square()).sum()

    def _measured_price(self) -> float:
        """Return the bits that a squared error is worth to a model that quantises in steps of 1: what a finer step
        costs in bits over what it saves in errors. Zero where there is no such trade-off, as in a picture of one
        colour.
        """
        bits, errors = [], []
        for width in _WIDTHS:
            other = copy.copy(self)
            other._gains = replace(self._gains, y=self._gains.y / width, y_inverse=self._gains.y_inverse * width)
            with torch.no_grad():
                coded = other.quantise(self.y / width, self.z)
                bits.append(_all_bits(coded))
                errors.append(float(other._squared_error(coded)))
        fewer, more = bits[0] - bits[1], errors[1] - errors[0]
        return max(fewer / more, 0.0) if more > 0 else 0.0


def _all_bits(coded: Quantised) -> float:
    return float(coded.bits().sum()) + coded.z_bits


def _weight(importance: Tensor | None, height: int, width: int) -> Tensor:
    """Return (1, 1, 1 or height, 1 or width), one pixel as important as its place."""
    if importance is None:
        return torch.ones(1, 1, 1, 1, dtype=torch.float32)
    pixels = importance.float().repeat_interleave(PLACE, 2).repeat_interleave(PLACE, 3)
    return pixels[..., :height, :width]
