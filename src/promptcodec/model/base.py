"""The model: transforms, hyper transforms, prior and gains, and its teacher-forced forward pass."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from promptcodec.errors import UsageError
from promptcodec.model import config
from promptcodec.model.config import STRIDE
from promptcodec.model.entropy.causal import CausalContext
from promptcodec.model.entropy.context import context_model
from promptcodec.model.entropy.contextual_mean import ContextualMean
from promptcodec.model.entropy.prior import FactorizedPrior, gaussian_likelihood
from promptcodec.model.entropy.schedule import (
    MeanSchedule,
    Schedule,
    Step,
    Where,
    all_at_once,
    assembled,
    in_units,
    run,
    with_scales,
)
from promptcodec.model.layers.transforms import Transform, depth, full_precision, pad_to_multiple
from promptcodec.model.steering import Constant, Decoded, Gains, Steerer, Steering, TransformSteer

Quantisation = Literal["noise", "mixed", "round"]


class CompressionModel(nn.Module):
    """A codec's networks, built from a configuration (``promptcodec.model.presets.registry``)."""

    def __init__(self, cfg: config.Model) -> None:
        super().__init__()
        self.config = cfg
        encoder = _drop_rates(cfg.analysis, cfg.hyper_analysis)
        decoder = _drop_rates(cfg.hyper_synthesis, cfg.synthesis)
        self.g_a = Transform(cfg.analysis, encoder)
        self.h_a = Transform(cfg.hyper_analysis, encoder)
        self.h_s = Transform(cfg.hyper_synthesis, decoder)
        self.g_s = Transform(cfg.synthesis, decoder)
        self.prior = FactorizedPrior(cfg.hyper_channels)
        self.context = context_model(cfg)
        self.gain = RateGain(cfg.gain, cfg.latent_channels, cfg.hyper_channels) if cfg.gain else None

    def gains(self, q: Tensor | None) -> Gains:
        """Return the gains at q (B,) in [0, 1]; None is for models of one rate.

        Raises UsageError where the two do not match.
        """
        if (q is None) != (self.gain is None):
            wants = "a rate q" if self.gain is not None else "no q: it was trained for one rate"
            raise UsageError(f"model {self.config.name} takes {wants}")
        return Gains() if self.gain is None else Gains(*self.gain(q))

    def hyper_parameters(
        self, z_hat: Tensor, gains: Gains, steer: TransformSteer | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the scales and means of the (gained) latent from the decoded (gained) z (B, N, H/64, W/64)."""
        with full_precision(z_hat.device):  # probabilities are never computed in bfloat16
            scales, means = self.h_s(z_hat * gains.z_inverse, steer).chunk(2, 1)
        scales = scales.exp() if self.config.scale == "log" else scales
        return scales * gains.y, means * gains.y

    def log_scales(self, z: Tensor, gain: Tensor | float, steer: TransformSteer | None = None) -> Tensor:
        """Return log σ of the latent gained by ``gain``, from z without gain, of a model with contextual means."""
        with full_precision(z.device):
            log_scale: Tensor = self.h_s(z, steer)
            return log_scale + torch.as_tensor(gain, dtype=z.dtype, device=z.device).log()

    def means(
        self, z: Tensor, log_scale: Tensor, gain: Tensor | float, steer: TransformSteer | None = None
    ) -> MeanSchedule:
        """Return the steps in which a model with contextual means makes those of the latent gained by ``gain``.

        z: (B, N, h/64, w/64) without gain. ``log_scale``: what ``log_scales`` gives. ``steer`` acts in the features
        and the mean network. Raises UsageError for models without such means.
        """
        if not isinstance(self.context, ContextualMean):
            raise UsageError(f"model {self.config.name} has no contextual means")
        return self.context.steps(z, log_scale, gain, steer)

    def schedule(
        self, z_hat: Tensor, gains: Gains, known: Tensor | None = None, steer: TransformSteer | None = None,
        steer_means: TransformSteer | None = None,
    ) -> Schedule:  # fmt: skip
        """Return the steps in which the (gained) latent is coded, given the decoded (gained) z; see
        ``entropy.schedule``.

        ``known``: the latent as later steps will see it, where that is settled beforehand (noise in training).
        ``steer`` acts in the hyper synthesis, ``steer_means`` in what makes contextual means.
        """
        if self.context is None:
            return all_at_once(*self.hyper_parameters(z_hat, gains, steer))
        if isinstance(self.context, ContextualMean):
            z = z_hat * gains.z_inverse
            log_scale = self.log_scales(z, gains.y, steer)
            return with_scales(self.means(z, log_scale, gains.y, steer_means), log_scale.exp())
        hyper = self.h_s(z_hat * gains.z_inverse, steer)
        if isinstance(self.context, CausalContext) and known is not None:  # in one pass instead of hundreds
            steps = all_at_once(*self.context.in_one_pass(hyper, (known / gains.y).to(hyper.dtype)))
        else:
            steps = self.context.steps(hyper)
        log = self.config.scale == "log"
        return in_units(steps, gains.y, lambda scale, gain: (scale.exp() if log else scale) * gain)

    def forward(
        self,
        x: Tensor,
        q: Tensor | None = None,
        quantisation: Quantisation | None = None,
        steering: Steering | Steerer | None = None,
    ) -> dict[str, Any]:
        """Return reconstruction and likelihoods, as CompressAI's models return them.

        x: (B, 3, H, W) in [0, 1], any size from 1x1. q: (B,) in [0, 1] for models of variable rate.
        ``quantisation``: ``noise`` adds uniform noise (Ballé et al. 2017); ``mixed`` uses noise for the likelihoods
        and straight-through rounding for what the decoder sees; ``round`` is what a decoder gets. By default ``noise``
        in training mode and ``round`` else. ``steering``: what conditions the pass, or what makes it on the way.

        Returns ``x_hat`` (B, 3, H, W), not clamped, and ``likelihoods`` with ``y`` (B, M, h/16, w/16) and ``z``
        (B, N, h/64, w/64), where h and w are H and W padded to multiples of 64; and ``y_hat``, as large as y, as the
        synthesis sees it.
        """
        height, width = x.shape[-2:]
        steerer = Constant(steering or Steering()) if steering is None or isinstance(steering, Steering) else steering
        y, z, steer = self.analyse(pad_to_multiple(x, STRIDE), steerer)
        out = self.reconstruct(y, z, self.gains(q).times(steer.gains), quantisation, steerer, steer)
        return {**out, "x_hat": out["x_hat"][..., :height, :width]}

    def analyse(self, x: Tensor, steerer: Steerer) -> tuple[Tensor, Tensor, Steering]:
        """Return y and z before gains, and the encoder's steering, of a padded picture (B, 3, h, w)."""
        steer = steerer.for_encoder(x)
        y = self.g_a(x, steer.within("g_a"), steer.region)
        steer = steer.then(steerer.for_hyper(y))
        return y, self.h_a(y, steer.within("h_a")).to(y.dtype), steer

    def reconstruct(
        self, y: Tensor, z: Tensor, gains: Gains, quantisation: Quantisation | None, steerer: Steerer, steer: Steering,
        rounding: Callable[[Tensor], Tensor] | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """Finish a pass as ``forward`` does, in the padded size, from y and z before gains; ``steer`` has the masks.

        ``rounding`` takes the place of straight-through rounding.
        """
        rounding = rounding or _straight_through
        mode = quantisation or ("noise" if self.training else "round")
        y, z = y * gains.y, z * gains.z
        medians = self.prior.medians
        if steer.keep_z is not None:
            z = torch.lerp(medians.expand_as(z), z, steer.keep_z.to(z.dtype))  # masks may be bfloat16
        z_noisy = z + torch.empty_like(z).uniform_(-0.5, 0.5) if mode != "round" else z
        z_round = rounding(z - medians) + medians
        z_hat = z_noisy if mode == "noise" else z_round
        noise = torch.empty_like(y).uniform_(-0.5, 0.5) if mode != "round" else torch.zeros_like(y)
        known = y + noise if mode == "noise" else None
        likelihood: list[tuple[Where, Tensor]] = []

        def code(step: Step) -> Tensor:
            values, means = y[step.where], step.mean
            if steer.keep_y is not None:
                values = torch.lerp(means, values, steer.keep_y.to(y.dtype).expand_as(y)[step.where])
            rounded = rounding(values - means) + means
            noisy = values + noise[step.where] if mode != "round" else rounded
            likelihood.append((step.where, gaussian_likelihood(noisy - means, step.scale)))
            return noisy if mode == "noise" else rounded

        decoded = Decoded(z_hat * gains.z_inverse)
        # Probabilities are never computed in bfloat16; means may be while they are learned.
        mixed = self.training and isinstance(self.context, ContextualMean)
        with contextlib.nullcontext() if mixed else full_precision(y.device):
            steering = steerer.for_entropy(decoded)
            schedule = self.schedule(z_hat, gains, known, steering.within("h_s"), steering.within("h_m"))
            y_hat = run(schedule, code, tuple(y.shape))
        likelihoods = {
            "y": assembled(likelihood, y.shape),
            "z": self.prior.likelihood(z_round if mode == "round" else z_noisy),
        }
        y_hat = y_hat * gains.y_inverse
        x_hat = self.g_s(y_hat, steerer.for_decoder(Decoded(decoded.z, y_hat)).within("g_s"))
        return {"x_hat": x_hat, "y_hat": y_hat, "likelihoods": likelihoods}


class RateGain(nn.Module):
    """Maps q in [0, 1] to lambda and to per-channel gains before quantisation and after it: continuous variable rate by
    gain vectors (Cui et al. 2021), interpolated exponentially between knots.

    Between two knots the logarithm of a gain is linear in q, so gains are positive and smooth in the rate. The start is
    the high-rate optimum: step sizes proportional to lambda^-1/2.
    """

    def __init__(self, cfg: config.Gain, latent: int, hyper: int) -> None:
        super().__init__()
        self.lambda_min, self.lambda_max, self.levels = cfg.lambda_min, cfg.lambda_max, cfg.levels
        span = math.log(cfg.lambda_max / cfg.lambda_min)
        log_gain = 0.5 * span * (torch.linspace(0, 1, cfg.levels) - 0.5)
        self.y = nn.Parameter(log_gain[:, None].repeat(1, latent))
        self.y_inverse = nn.Parameter(-log_gain[:, None].repeat(1, latent))
        self.z = nn.Parameter(torch.zeros(cfg.levels, hyper))
        self.z_inverse = nn.Parameter(torch.zeros(cfg.levels, hyper))

    def rate_lambda(self, q: Tensor) -> Tensor:
        """Return the rate-distortion trade-off that q stands for: log-spaced between the ends."""
        return self.lambda_min * (self.lambda_max / self.lambda_min) ** q

    def forward(self, q: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Turn q (B,) in [0, 1] into gains y, 1/y, z, 1/z, each (B, channels, 1, 1), in the parameters' precision."""
        position = q.to(self.y.dtype).clamp(0, 1) * (self.levels - 1)
        knot = position.floor().clamp(max=self.levels - 2).long()
        weight = (position - knot)[:, None]
        y, y_inverse, z, z_inverse = (
            torch.exp(torch.lerp(table[knot], table[knot + 1], weight))[..., None, None]
            for table in (self.y, self.y_inverse, self.z, self.z_inverse)
        )
        return y, y_inverse, z, z_inverse


Network = TypeVar("Network", bound=nn.Module)


def channels_last(network: Network) -> Network:
    """Return ``network`` with its convolution weights in the order that convolutions are fastest in."""
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _straight_through(x: Tensor) -> Tensor:
    """Round half to even, with the gradient of the identity."""
    return x + (x.round() - x).detach()


def _drop_rates(first: config.Transform, second: config.Transform):  # type: ignore[no-untyped-def]
    """Return stochastic-depth rates rising linearly over the blocks of both transforms, in their order."""
    total = depth(first) + depth(second)
    return iter([first.drop_path * i / max(total - 1, 1) for i in range(total)])
