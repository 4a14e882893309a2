"""Schedules: every element is coded once, and a step that looks back sees the same when encoding and decoding."""

import pytest
import torch

from promptcodec.model import arrays
from promptcodec.model.base import CompressionModel
from promptcodec.model.entropy.schedule import EVERYWHERE, Step, all_at_once, run
from promptcodec.model.inference.exact_hyper import array_place, array_steps
from promptcodec.model.presets.registry import PRESETS


def in_groups(scale, mean, groups=4):
    """Channel groups, each mean moved by what the groups before it came out as: the shape of a context model."""
    size = scale.shape[1] // groups
    context = torch.zeros_like(mean)
    for i in range(groups):
        where = (slice(None), slice(i * size, (i + 1) * size), slice(None), slice(None))
        before = context[:, : i * size].mean() if i else 0.0
        context = yield Step(where, scale[where], mean[where] + 0.1 * before)


@pytest.mark.parametrize("schedule", [all_at_once, in_groups])
def test_every_element_once(schedule):
    scale = mean = torch.zeros(2, 8, 3, 5)
    count = torch.zeros_like(mean)

    def code(step):
        count[step.where] += 1
        return torch.ones_like(step.mean)

    y_hat = run(schedule(scale, mean), code, tuple(mean.shape))
    assert torch.equal(y_hat, torch.ones_like(mean))
    assert torch.equal(count, torch.ones_like(mean))


def test_a_schedule_is_sent_what_was_decoded():
    seen = []

    def schedule():
        seen.append((yield Step((slice(None), slice(0, 1), *EVERYWHERE[2:]), torch.ones(1), torch.zeros(1))).clone())
        seen.append((yield Step((slice(None), slice(1, 2), *EVERYWHERE[2:]), torch.ones(1), torch.zeros(1))).clone())

    values = iter((torch.full((1, 1, 2, 2), 3.0), torch.full((1, 1, 2, 2), 5.0)))
    run(schedule(), lambda _: next(values), (1, 2, 2, 2))
    assert seen[0].flatten().tolist() == [3.0] * 4 + [0.0] * 4
    assert seen[1].flatten().tolist() == [3.0] * 4 + [5.0] * 4


def test_a_context_schedule_round_trips(codec, photo, monkeypatch):
    coder, hyper = codec.coder, codec.backend.hyper

    def schedule(z, q, *_):
        parameters = map(torch.from_numpy, hyper.parameters(z, q))
        return array_steps(
            in_groups(*parameters), lambda s: arrays.Step(array_place(s.where), s.scale.numpy(), s.mean.numpy())
        )

    monkeypatch.setattr(hyper, "schedule", schedule)
    coded = coder.encode(codec.analyse(photo), 0.4)
    assert len(coded.offsets) == 4
    y_hat = coder.decode_both(coded, *photo.shape[:2], 0.4)[1]
    assert (y_hat * 256 % 1).max() == 0
    assert len(set(y_hat.flatten().tolist())) > 100


def test_training_bits_do_not_depend_on_the_steps(monkeypatch):
    torch.manual_seed(0)
    model = CompressionModel(PRESETS["nano"]()).eval()
    x, q = torch.rand(1, 3, 64, 64), torch.tensor([0.5])
    whole = model(x, q)
    plain_groups = lambda scale, mean: in_groups(scale, mean, 1)  # noqa: E731
    monkeypatch.setattr("promptcodec.model.base.all_at_once", plain_groups)
    parts = model(x, q)
    assert torch.equal(whole["x_hat"], parts["x_hat"])
    assert torch.equal(whole["likelihoods"]["y"], parts["likelihoods"]["y"])
