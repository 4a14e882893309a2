"""The networks of a model, run by PyTorch: the ``Backend`` of a codec."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from promptcodec.bitstream.tables import FrequencyTables
from promptcodec.model import arrays
from promptcodec.model.arrays import Analysis, Float64s, Floats, MeanSteps
from promptcodec.model.base import CompressionModel
from promptcodec.model.config import STRIDE
from promptcodec.model.effort import Effort
from promptcodec.model.entropy.schedule import MeanStep
from promptcodec.model.inference.defaults import default_settings, true_float32
from promptcodec.model.inference.exact_hyper import (
    ExactHyper,
    SteersLatents,
    array_place,
    array_steps,
    latent_steering,
)
from promptcodec.model.inference.precision import Precision, autocast_pays
from promptcodec.model.inference.refinement import refined_latents
from promptcodec.model.layers.transforms import pad_to_multiple
from promptcodec.model.steering import Constant, Decoded, Steerer, Steering


class Steers(Steerer, SteersLatents, Protocol):
    """What a call may be steered by: adapters attached to one picture, on the networks' device."""


class TorchBackend:
    """One model on one device. Safe to use from several threads."""

    def __init__(
        self,
        network: CompressionModel,
        tables: FrequencyTables,
        probability: bytes,
        pixels: bytes,
        device: str | torch.device = "cpu",
        precision: Precision = "float32",
    ) -> None:
        """Take ``tables``: of z. ``probability`` and ``pixels``: fingerprints. ``precision``: of analysis and
        synthesis; "auto" takes bfloat16 where this machine is quicker with it, which moves pixels by a level at most,
        hardly any by two. What decides probabilities is float64 always.
        """
        self.network, self.name = network, network.config.name
        self.probability, self.pixels = probability, pixels
        self.device = torch.device(device)
        self.bfloat16, _ = autocast_pays(precision, self.device)
        self.hyper = ExactHyper(network, tables)

    default_settings = staticmethod(default_settings)
    """A context in which nothing that the program around has set reaches a file."""

    @torch.inference_mode()
    def analyse(
        self, rgb: NDArray[np.uint8], q: float, attached: Steers | None, effort: Effort, report: Callable[[], None]
    ) -> Analysis:
        """Return the latents of pixels (H, W, 3); with an effort, refined for the rate q in [0, 1]."""
        steerer: Steerer = attached or Constant()
        pixels = torch.from_numpy(np.require(rgb, requirements=["C", "W"])).to(self.device)
        if effort.level:
            x = pixels.permute(2, 0, 1)[None].float() / 255
            return _analysis(*refined_latents(self.network, x, q, steerer, effort, report))
        return _analysis(*self._pass(pixels[None], steerer))

    @torch.inference_mode()
    def analyse_batch(self, pictures: NDArray[np.uint8]) -> list[Analysis]:
        """Return the latents of pictures (B, H, W, 3), steered by nothing, of one pass of the networks."""
        y, z, steer = self._pass(torch.from_numpy(np.ascontiguousarray(pictures)).to(self.device), Constant())
        return [_analysis(y[index : index + 1], z[index : index + 1], steer) for index in range(len(pictures))]

    def _pass(self, pixels: Tensor, steerer: Steerer) -> tuple[Tensor, Tensor, Steering]:
        x = pixels.permute(0, 3, 1, 2).float() / 255
        x = pad_to_multiple(x, STRIDE).contiguous(memory_format=torch.channels_last)
        with self._precision():
            return self.network.analyse(x, steerer)

    def means(
        self, z_symbols: NDArray[np.int32], log_sigma: Float64s, q: float, attached: Steers | None = None
    ) -> MeanSteps:
        """Yield the steps in which contextual means are made, in float32 on the device, from the integers of z and log
        σ.
        """

        def context() -> AbstractContextManager[Any]:
            return true_float32(self.device)

        with torch.inference_mode(), context():
            gains = self.hyper.gains(q, attached)
            z = self._float32((z_symbols + self.hyper.medians) * gains.z_inverse)
            gain = self._float32(gains.y) if isinstance(gains.y, np.ndarray) else gains.y
            steer = latent_steering(attached).means(Decoded(z)).within("h_m")
            steps = self.network.means(z, self._float32(log_sigma), gain, steer)
        yield from array_steps(steps, _mean_step, self.device, context)

    @torch.inference_mode()
    def synthesise(self, y: Floats, z: Floats, attached: Steers | None, height: int, width: int) -> NDArray[np.uint8]:
        """Return pixels (height, width, 3) of ŷ (1, M, h/16, w/16) and ẑ (1, N, h/64, w/64) without gains, float32."""
        latent = self._float32(y).contiguous(memory_format=torch.channels_last)
        with self._precision():
            steer = None
            if attached is not None:
                steer = attached.for_decoder(Decoded(self._float32(z), latent)).within("g_s")
            x = self.network.g_s(latent, steer)[0, :, :height, :width].float()
        rgb = (x.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0)
        return np.ascontiguousarray(rgb.cpu().numpy())

    def _precision(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16)

    def _float32(self, values: Floats) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).float().to(self.device)


def _analysis(y: Tensor, z: Tensor, steer: Steering) -> Analysis:
    # In the order in which they are coded, or every encode would copy them into it.
    y, z = (latent.float().cpu().contiguous() for latent in (y, z))
    return Analysis(y.numpy(), z.numpy(), _mask(steer.keep_y), _mask(steer.keep_z))


def _mask(keep: Tensor | None) -> NDArray[np.bool_] | None:
    return None if keep is None else (keep > 0.5).cpu().numpy()


def _mean_step(step: MeanStep) -> arrays.MeanStep:
    return arrays.MeanStep(array_place(step.where), step.mean.cpu().numpy())
