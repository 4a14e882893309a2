"""Effort: what it saves, what it leaves as it is, and what it refuses."""

import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_context_files import MATRIX

import promptcodec
import promptcodec.pillow
from promptcodec.bitstream.container import unpack
from promptcodec.codec.budget import bytes_a_pixel, tile_size
from promptcodec.codec.codec import Codec
from promptcodec.codec.search import MOST_REFINED
from promptcodec.errors import UsageError
from promptcodec.model.arrays import Analysis
from promptcodec.model.base import CompressionModel
from promptcodec.model.effort import MOST_EFFORT, Effort
from promptcodec.model.inference import backend
from promptcodec.model.inference.annealing import AnnealedRefinement, annealed_rounding
from promptcodec.model.inference.latent_cost import LatentCost
from promptcodec.model.inference.proximal import ProximalSearch
from promptcodec.model.presets.nano import nano
from promptcodec.model.steering import Constant, Gains, Steering
from promptcodec.quality.psnr import psnr

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "photo.jpg"


@pytest.fixture(scope="module")
def rgb() -> np.ndarray:
    """(128, 192, 3) of a real photo."""
    return np.asarray(Image.open(EXAMPLE).convert("RGB").resize((192, 128), Image.Resampling.LANCZOS))


@pytest.fixture(scope="module")
def cost(codec, rgb) -> LatentCost:
    """Of the photo at quality 50, with the shipped model."""
    x = torch.tensor(rgb).permute(2, 0, 1)[None].float() / 255
    return LatentCost(codec.backend.network, x, torch.tensor([0.5]), Constant())


def file_cost(codec, rgb: np.ndarray, quality: float, data: bytes) -> float:
    """λ · MSE + bits per pixel, by what the file holds."""
    picture = np.asarray(promptcodec.decode(data)).astype(float)
    rate_lambda = float(codec.backend.network.gain.rate_lambda(torch.tensor([quality / 100])))
    return rate_lambda * ((picture - rgb) ** 2).mean() + 8 * len(data) / rgb[..., 0].size


def test_the_cost_of_files_falls_over_the_scale(codec, rgb):
    """With the plain decoder; the files of one step and the next may differ by a few bytes of chance."""
    for quality in (20, 80):
        costs = [file_cost(codec, rgb, quality, promptcodec.encode(rgb, quality, effort=e)) for e in (0, 2, 4, 6, 8)]
        assert all(after < 1.001 * before for before, after in pairwise(costs)), costs
        assert costs[2] < 0.995 * costs[0]
        assert costs[-1] < 0.985 * costs[0]


def test_more_steps_never_cost_more(cost):
    plain = cost.of(cost.quantise(cost.y, cost.z))
    costs = [plain, *(cost.of(ProximalSearch(steps)(cost, cost.y, cost.z)) for steps in (0, 1, 3, 10))]
    assert all(after <= before * (1 + 1e-6) for before, after in pairwise(costs)), costs
    assert costs[-1] < 0.99 * plain
    search = ProximalSearch(10)
    assert cost.of(AnnealedRefinement(10, search, search)(cost, cost.y, cost.z)) <= costs[-1] * (1 + 1e-6)


def test_annealing_lowers_the_cost(cost):
    nothing = ProximalSearch(0)
    refined = AnnealedRefinement(20, nothing, nothing)(cost, cost.y, cost.z)
    assert cost.of(refined) < 0.99 * cost.of(cost.quantise(cost.y, cost.z))
    again = AnnealedRefinement(20, nothing, nothing)(cost, cost.y, cost.z)
    assert torch.equal(refined.symbols, again.symbols)


def test_the_coder_finds_the_symbols_that_were_chosen(codec, rgb):
    """y lies at ŷ: the coder's own means, in float64 and on a grid, lead to the same integers."""
    x = torch.tensor(rgb).permute(2, 0, 1)[None].float() / 255
    cost = LatentCost(codec.backend.network, x, torch.tensor([0.5]), Constant())
    found = ProximalSearch(4)(cost, cost.y, cost.z)
    y, z, _ = cost.latents(found.y, found.z)
    (_, coded) = codec.coder.quantise(Analysis(y.numpy(), z.numpy()), 0.5).steps
    assert (coded[0] == found.symbols.flatten().int().numpy()).all()


@pytest.mark.parametrize(
    "name", ["tic, space-channel", "tic, causal", "s2c, space-channel of S2C", "tic, contextual means"]
)
def test_means_that_depend_on_what_was_coded(name, rgb):
    """The search recomputes them between steps, and what it returns is what a coder makes of it again."""
    torch.manual_seed(0)
    model = CompressionModel(MATRIX[name]).eval().requires_grad_(False)
    x = torch.tensor(rgb[:64, :64]).permute(2, 0, 1)[None].float() / 255
    finer = Constant(Steering(gains=Gains(y=20.0, y_inverse=1 / 20)))  # untrained latents are nearly all zero
    cost = LatentCost(model, x, torch.tensor([0.9]), finer)
    plain = cost.quantise(cost.y, cost.z)
    found = ProximalSearch(4)(cost, cost.y, cost.z)
    again = cost.quantise(found.y, found.z)
    assert torch.equal(again.symbols, found.symbols)
    assert torch.allclose(again.mean, found.mean, atol=1e-4)
    assert cost.of(found) < cost.of(plain)
    assert not torch.equal(found.symbols, plain.symbols)


def test_masked_latents_stay(codec, rgb):
    """What is coded as zero for an adapter's sake is left so."""
    x = torch.tensor(rgb).permute(2, 0, 1)[None].float() / 255
    keep = (torch.arange(320) % 2).float().reshape(1, -1, 1, 1)
    keep_z = (torch.arange(64) % 2).float().reshape(1, -1, 1, 1)
    steerer = Constant(Steering(keep_y=keep, keep_z=keep_z))
    cost = LatentCost(codec.backend.network, x, torch.tensor([0.7]), steerer)
    found = ProximalSearch(4)(cost, cost.y, cost.z)
    assert not found.symbols[:, ::2].any()
    assert found.symbols[:, 1::2].any()
    assert torch.equal(found.z[:, ::2], codec.backend.network.prior.medians[:, ::2].expand_as(found.z[:, ::2]))


def test_the_same_file_whatever_was_drawn_before(rgb, monkeypatch):
    part = rgb[:64, :64]
    monkeypatch.setattr("promptcodec.model.effort.ANNEALING_STEPS", {9: 10, 10: 20})
    for effort in (3, 9):
        torch.manual_seed(1)
        state = torch.get_rng_state()
        first = promptcodec.encode(part, 50, effort=effort)
        assert torch.equal(state, torch.get_rng_state())  # nothing was drawn from it
        torch.manual_seed(2)
        assert promptcodec.encode(part, 50, effort=effort) == first


def test_targets(rgb):
    """Kept as without an effort, with a better file."""
    plain = promptcodec.encode(rgb, 50)
    before = psnr(rgb, np.asarray(promptcodec.decode(plain)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # small files change by leaps
        data = promptcodec.encode(rgb, target_size=len(plain), effort=4)
        good = promptcodec.encode(rgb, target_psnr=before, effort=4)
    assert 0.97 * len(plain) <= len(data) <= len(plain)
    assert psnr(rgb, np.asarray(promptcodec.decode(data))) > before + 0.03
    assert before <= psnr(rgb, np.asarray(promptcodec.decode(good))) < before + 0.15
    assert len(good) < 0.995 * len(plain)


def test_a_target_takes_few_refinements(rgb, monkeypatch):
    calls = []
    original = backend.refined_latents
    monkeypatch.setattr(backend, "refined_latents", lambda *a: calls.append(1) or original(*a))
    promptcodec.encode(rgb, target_size=3000, effort=1)
    assert 1 <= len(calls) <= MOST_REFINED


def test_tiles(codec, rgb, monkeypatch):
    """Every tile's latents are searched, no worse than without; progress counts all steps."""
    large = np.asarray(Image.fromarray(rgb).resize((300, 270)))
    plain = promptcodec.encode(large, 50)
    monkeypatch.setattr("promptcodec.codec.picture_encoder.tile_size", lambda *_: (256, 256))
    told: list[tuple[int, int]] = []
    data = promptcodec.encode(large, 50, effort=4, preview=False, progress=lambda *both: told.append(both))
    tiled = promptcodec.encode(large, 50, preview=False)
    streams = [[tile.stream for tile in unpack(each).tiles] for each in (tiled, data)]
    assert len(streams[0]) == len(streams[1]) == 4
    assert all(a != b for a, b in zip(*streams, strict=True))
    assert file_cost(codec, large, 50, data) < 0.995 * file_cost(codec, large, 50, tiled)
    assert told[-1] == (4 * Effort(4).steps, 4 * Effort(4).steps)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert len(told) > 4 * Effort(4).steps
    assert plain != tiled


def test_gradients_take_memory():
    config = nano()
    assert bytes_a_pixel(config, gradients=True) > 2 * bytes_a_pixel(config)
    plain, searched = (tile_size(4000, 6000, config, 2**30, gradients) for gradients in (False, True))
    assert searched[0] < plain[0]


@pytest.mark.parametrize("size", [(1, 1), (1, 70), (65, 3)])
def test_small_pictures(rgb, size):
    part = rgb[: size[0], : size[1]]
    for effort in (1, 5):
        assert promptcodec.decode(promptcodec.encode(part, 50, effort=effort)).size == size[::-1]


def test_a_picture_of_one_colour(tic):
    """Of which no trade-off can be measured, or there is nothing to save."""
    flat = np.full((64, 64, 3), 127, np.uint8)
    assert tic.decode_picture(tic.encode(flat, effort=2)).rgb.shape == flat.shape
    assert promptcodec.decode(promptcodec.encode(flat, 50, effort=4)).size == (64, 64)


def test_pillow_takes_it(rgb, tmp_path):
    Image.fromarray(rgb).save(tmp_path / "a.ptc", quality=40, effort=3)
    assert (tmp_path / "a.ptc").read_bytes() == promptcodec.encode(rgb, 40, effort=3)


@pytest.mark.parametrize("wrong", [11, -1, 2.5, "3", None, True])
def test_what_is_no_effort(codec, rgb, wrong):
    assert isinstance(codec, Codec)
    with pytest.raises(UsageError, match=f"an effort is a whole number from 0 to {MOST_EFFORT}, not"):
        promptcodec.encode(rgb, effort=wrong)
    for rate_lambda in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="a positive number"):
            Effort(3, rate_lambda)


def test_annealed_rounding() -> None:
    values = torch.tensor([0.0, 0.3, 0.5, 0.9, -1.2]).repeat(4000, 1)
    generator = torch.Generator().manual_seed(0)
    cold = annealed_rounding(values, 0.02, generator)
    assert torch.allclose(cold[:, [0, 1, 3, 4]], values[:, [0, 1, 3, 4]].round(), atol=0.05)
    warm = annealed_rounding(values, 0.5, generator).mean(0) - values[0].floor()
    assert warm[0] < 0.05
    assert warm[1] < 0.4
    assert warm[2] == pytest.approx(0.5, abs=0.03)
    assert warm[3] > 0.9
