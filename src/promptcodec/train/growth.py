"""Begin a larger model as a smaller one that has been trained: the same layers, and between them stages that start as
the identity. Hours spent on the smaller one are kept.

The plain hyperprior of the smaller model becomes contextual means: its hyper synthesis makes their features and first
means. Scales come from a network of other layers, which is fitted to the smaller model's scales.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from promptcodec.model import config
from promptcodec.model.base import CompressionModel
from promptcodec.model.entropy.contextual_mean import ContextualMean

FIT_STEPS, FIT_BATCH, FIT_RATE = 800, 16, 3e-3
_PLACES = {"g_a": "analysis", "g_s": "synthesis", "h_a": "hyper_analysis"}


def grows(small: config.Model, large: config.Model) -> bool:
    """Return whether a model described by ``large`` can begin as one described by ``small``."""
    if small.gain != large.gain or small.scale != large.scale or small.context is not None:
        return False
    pairs = [(getattr(small, part), getattr(large, part)) for part in _PLACES.values()]
    if any(old.shortcut != new.shortcut or _places(old.layers, new.layers) is None for old, new in pairs):
        return False
    if isinstance(large.context, config.ContextualMean):
        return _places(small.hyper_synthesis.layers[:-1], large.context.features.layers) is not None
    return small.hyper_synthesis == large.hyper_synthesis and large.context is None


@torch.no_grad()
def grow(model: CompressionModel, trained: CompressionModel, pictures: Tensor) -> float:
    """Set ``model`` to what ``trained`` is; ``grows`` must hold. ``pictures``: (B, 3, H, W) crops in [0, 1] that scales
    are fitted on, a thousand or so. Returns the root mean square error of the fitted log scales, 0 where none are."""
    small, large, state = trained.config, model.config, model.state_dict()
    tensors = {name: value for name, value in trained.state_dict().items() if name.startswith(("prior.", "gain."))}
    for name, part in _PLACES.items():
        old, new = getattr(small, part), getattr(large, part)
        tensors |= _moved(trained, f"{name}.layers", f"{name}.layers", _places(old.layers, new.layers) or {})
        tensors |= {k: v for k, v in trained.state_dict().items() if k.startswith(f"{name}.shortcut.")}
    if not isinstance(model.context, ContextualMean):
        tensors |= {name: value for name, value in trained.state_dict().items() if name.startswith("h_s.")}
        model.load_state_dict(state | tensors)
        return 0.0
    assert isinstance(large.context, config.ContextualMean)
    places = _places(small.hyper_synthesis.layers[:-1], large.context.features.layers) or {}
    tensors |= _moved(trained, "h_s.layers", "context.features.layers", places)
    head, channels = trained.h_s.layers[-1], large.latent_channels
    assert isinstance(head, nn.Conv2d)
    assert head.bias is not None
    tensors |= {"context.first.weight": head.weight[channels:], "context.first.bias": head.bias[channels:]}
    model.load_state_dict(state | tensors)
    return _fit_scales(model, trained, pictures)


def _fit_scales(model: CompressionModel, trained: CompressionModel, pictures: Tensor) -> float:
    """Fit the log scales of ``model`` to those of ``trained``, on decoded z of pictures at random rates."""
    generator = torch.Generator().manual_seed(0)
    latents, targets = [], []
    for x in pictures.split(FIT_BATCH):
        gains = trained.gains(torch.rand(len(x), generator=generator).to(x.device))
        z = (trained.h_a(trained.g_a(x)) * gains.z).round() * gains.z_inverse
        latents.append(z)
        targets.append(trained.h_s(z).chunk(2, 1)[0])
    z, target = torch.cat(latents), torch.cat(targets)
    assert model.h_s.bound is not None
    model.h_s.bound.centre.copy_(target.mean(dim=(0, 2, 3)))
    optimiser = torch.optim.Adam(model.h_s.parameters(), lr=FIT_RATE)
    errors: list[float] = []
    for step in range(FIT_STEPS):
        optimiser.param_groups[0]["lr"] = FIT_RATE * (1 - step / FIT_STEPS)
        chosen = torch.randint(len(z), (FIT_BATCH,), generator=generator).to(z.device)
        with torch.enable_grad():
            # A Gaussian with a wrong log scale costs its square in nats: half of it twice over.
            loss = F.mse_loss(model.h_s(z[chosen]), target[chosen])
            optimiser.zero_grad()
            loss.backward()
        optimiser.step()
        errors.append(float(loss))
    return float(torch.tensor(errors[-20:]).mean().sqrt())


def _moved(trained: CompressionModel, old: str, new: str, places: dict[int, int]) -> dict[str, Tensor]:
    """Return the tensors of layers of ``trained`` under the names that they have in the larger model."""
    return {
        f"{new}.{target}.{name.removeprefix(f'{old}.{source}.')}": value
        for source, target in places.items()
        for name, value in trained.state_dict().items()
        if name.startswith(f"{old}.{source}.")
    }


def _places(old: tuple[config.Layer, ...], new: tuple[config.Layer, ...]) -> dict[int, int] | None:
    """Return where each layer of ``old`` stands in ``new``.

    None where what lies between them is not the identity at first.
    """
    places: dict[int, int] = {}
    rest: Iterator[tuple[int, config.Layer]] = iter(enumerate(old))
    expected = next(rest, None)
    for i, layer in enumerate(new):
        if expected is not None and layer == expected[1]:
            places[expected[0]] = i
            expected = next(rest, None)
        elif not (isinstance(layer, config.Stage) and layer.zero_init and not layer.residual):
            return None
    return places if expected is None else None
