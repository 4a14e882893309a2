"""A base with an adapter on it as one module, and the loss that it is trained by."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from promptcodec.model.base import CompressionModel, Quantisation
from promptcodec.model.rate_distortion import rate_distortion
from promptcodec.steer.adapter import Adapter
from promptcodec.steer.attached import Attached
from promptcodec.steer.controls import Controls
from promptcodec.train.losses import steering as equations
from promptcodec.train.losses.feature_balance import FeatureBalance
from promptcodec.train.losses.objective import SampleWeights, figures
from promptcodec.train.losses.table import Loss, LossInputs, LossTerms

_BALANCED_AT_ONCE = 4  # crops


class Steered(nn.Module):
    """What a steered run trains: ``adapter``, and with ``joint`` the ``base`` as well.

    ``balance``: what a recogniser's features count, constants that are kept with the weights.

    The base is kept outside the module in adapter training, so that its parameters are in no optimiser, average or
    checkpoint, and keep every bit; it stays in evaluation mode, without stochastic depth.
    """

    def __init__(
        self, base: CompressionModel, adapter: Adapter | None, joint: bool, balance: FeatureBalance | None = None
    ) -> None:
        super().__init__()
        self.adapter, self.balance = adapter, balance
        self._base: list[CompressionModel] = []
        if joint:
            self.base = base
        else:
            self._base.append(base.eval().requires_grad_(False))

    @property
    def network(self) -> CompressionModel:
        """The base."""
        return self._base[0] if self._base else self.base


class SteeredObjective(nn.Module):
    """Loss and figures of a batch, as ``Objective`` gives them, with steering.

    ``fixed_q``: the rate that a base of variable rate keeps, None where it follows the drawn one. A base of one rate,
    or one that keeps one, is trained for ``fixed_lambda``, or, where that is 0, for the trade-offs that the drawn rate
    stands for. ``rates``: ends of those that are drawn. ``sample_weights``: ``sqrt-lambda`` scales each sample's loss
    so that its rate counts 0.1 / sqrt(λ), as in ``Objective``; ``equal`` takes the losses as the papers state them.
    """

    def __init__(
        self,
        steered: Steered,
        loss: Loss,
        terms: LossTerms,
        quantisation: Quantisation,
        co_adapters: Sequence[Adapter] = (),
        fixed_q: float | None = None,
        fixed_lambda: float = 0.0,
        autocast: bool = False,
        rates: tuple[float, float] = (0.0, 1.0),
        sample_weights: SampleWeights = "sqrt-lambda",
    ) -> None:
        super().__init__()
        self.steered, self.loss, self.terms, self.quantisation = steered, loss, terms, quantisation
        self.co_adapters, self.sample_weights = tuple(co_adapters), sample_weights
        self.fixed_q, self.fixed_lambda, self.autocast, self.rates = fixed_q, fixed_lambda, autocast, rates

    def forward(
        self, x: Tensor, q: Tensor, controls: dict[str, Tensor], attached: Sequence[int] = ()
    ) -> tuple[Tensor, Tensor]:
        """Return the loss to minimise, and sums for ``Meter``.

        x: (B, 3, H, W) in [0, 1]. q: (B,) in [0, 1], the rates. ``controls``: scalars (B,) and maps (B, 1, H, W) by
        name. ``attached``: which of the co-adapters take part.
        """
        request = Controls({k: v for k, v in controls.items() if v.dim() == 1} | {"rate": q},
                           {k: v for k, v in controls.items() if v.dim() == 4})  # fmt: skip
        base, adapter = self.steered.network, self.steered.adapter
        adapters = [self.co_adapters[i] for i in attached] + ([adapter] if adapter is not None else [])
        base_q = None if base.gain is None else q if self.fixed_q is None else torch.full_like(q, self.fixed_q)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.autocast):
            out = base(x, base_q, self.quantisation, Attached(base.config, adapters, request))
        out["x_hat"] = out["x_hat"].float()
        losses = self._scaled_losses(LossInputs(out, x, self.rate_lambda(q), request))
        total = losses.mean()
        if base.prior.quantiles.requires_grad:
            total = total + base.prior.quantile_loss()
        return total, figures(losses, rate_distortion(out, x), q)

    @torch.no_grad()
    def measure_balance(self, crops: Tensor) -> None:
        """Set what features count, on crops (n, 3, H, W), if they are part of the loss: against what the base alone
        makes of them, each at another rate.
        """
        balance, recogniser, base = self.steered.balance, self.terms.recogniser, self.steered.network
        if balance is None or recogniser is None:
            return
        places = torch.linspace(*self.rates, len(crops)).to(crops)
        rates = iter(places.split(_BALANCED_AT_ONCE))
        was_training = base.training

        def reconstruct(x: Tensor) -> Tensor:
            q = next(rates)
            base_q = None if base.gain is None else q if self.fixed_q is None else torch.full_like(q, self.fixed_q)
            out: Tensor = base(x, base_q)["x_hat"]
            return out

        base.eval()
        balance.measure(recogniser, crops.split(_BALANCED_AT_ONCE), reconstruct, self.terms.level)
        base.train(was_training)

    def rate_lambda(self, q: Tensor) -> Tensor:
        """Return the trade-offs (B,) that the rates q (B,) are trained for."""
        gain = self.steered.network.gain
        if gain is not None and self.fixed_q is None:
            return gain.rate_lambda(q)
        if self.fixed_lambda:
            return torch.full_like(q, self.fixed_lambda)
        return equations.index_to_lambda(q)

    def _scaled_losses(self, batch: LossInputs) -> Tensor:
        """Return the loss of each sample, (B,), in the unit that all losses share."""
        losses = self.loss.compute(batch, self.terms)
        if self.loss.rate == "unscaled" or self.sample_weights == "equal":
            return losses
        unit = batch.rate_lambda / equations.PSNR_WEIGHT if self.loss.rate == "R_lambda" else 1.0
        return losses * unit * math.sqrt(0.01) / batch.rate_lambda.sqrt()
