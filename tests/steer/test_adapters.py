"""Adapters: sites, refusals, signals, files, and that each half sees only what it may."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from promptcodec.errors import FormatError, ModelMismatchError, UsageError
from promptcodec.model.base import CompressionModel
from promptcodec.model.presets.nano import nano
from promptcodec.model.presets.registry import tic
from promptcodec.model.steering import BlockSteer, Decoded, Prompt, Site, Steering
from promptcodec.steer.adapter import Adapter
from promptcodec.steer.adapter_file import base_fingerprint, load_adapter, save_adapter
from promptcodec.steer.attached import Attached
from promptcodec.steer.controls import Controls, constant
from promptcodec.steer.methods.pyramid import Pyramid, look, rate, region
from promptcodec.steer.methods.transtic import TransTIC
from promptcodec.steer.sites import check_steering, sites, stages_with_tokens

SMALL = tic(16, 32)


def small_model(seed: int = 0) -> CompressionModel:
    torch.manual_seed(seed)
    return CompressionModel(SMALL).eval()


def test_sites_of_models() -> None:
    found = sites(SMALL)
    assert len(found) == 14 + 4 + 4 + 14
    assert all(info.takes_tokens for info in found)
    takers = {(i.site.transform, i.site.stage) for i in sites(nano()) if i.takes_tokens}
    assert takers == {("g_a", 2), ("g_s", 0)}


def test_refusals_say_what_where_and_what_else() -> None:
    with pytest.raises(UsageError, match=r"g_a stage 0 of nano uses depthwise.* takes no prompt tokens; .*: 2"):
        stages_with_tokens(nano(), "g_a", [0])
    with pytest.raises(UsageError, match="no stage 7"):
        TransTIC(SMALL, encoder_stages=[7])
    with pytest.raises(UsageError, match=r"no stage of h_a of nano has attention .*SFT"):
        stages_with_tokens(nano(), "h_a", None)
    with pytest.raises(UsageError, match=r"9 generated prompts do not divide .* try 16"):
        TransTIC(SMALL, prompts=9)
    prompt = BlockSteer((Prompt(torch.zeros(3, 20)),))
    for site, message in (
        (Site("g_a", 0, 0), "20 channels do not fit g_a stage 0, block 0 of tic, whose width is 16"),
        (Site("g_a", 9, 0), "has no g_a stage 9, block 0: g_a has 4 stages"),
        (Site("g_a", 0, 5), "that stage has 2 blocks"),
        (Site("g_a", 0), "prompts cannot join g_a stage 0's output"),
    ):
        with pytest.raises(UsageError, match=message):
            check_steering(SMALL, Steering({site: prompt}))
    with pytest.raises(UsageError, match="was built for tic, this is nano"):
        Attached(nano(), [look(SMALL)])
    model = small_model()
    with pytest.raises(UsageError, match="needs a map 'roi'; given are none"):
        model(torch.rand(1, 3, 64, 64), steering=Attached(SMALL, [region(SMALL)]))


def test_signals() -> None:
    adapter = look(SMALL)
    data = adapter.signal(Controls({"look": constant(0.7)}))
    assert len(data) == 2
    assert adapter.read(data).scalar("look").item() == pytest.approx(0.7, abs=1e-5)
    with pytest.raises(FormatError, match="signals 2 bytes, the file has 3"):
        adapter.read(data + b"\0")
    for value in (1.5, float("nan")):
        with pytest.raises(UsageError, match=r"expected a number in 0\.\.1"):
            adapter.signal(Controls({"look": constant(value)}))
    with pytest.raises(UsageError, match="needs a value for 'look'; given are rate"):
        adapter.signal(Controls({"rate": constant(0.5)}))


def test_halves() -> None:
    assert not region(SMALL).decodes
    assert look(SMALL).decodes
    assert (look(SMALL).settable, look(SMALL, decoder_only=True).settable) == ((), ("look",))
    assert not TransTIC(SMALL, decoder="none").decodes
    model, x = small_model(), torch.rand(2, 3, 70, 64)
    controls = [Controls({"look": torch.full((2,), v)}) for v in (0.0, 1.0)]
    with torch.no_grad():
        low, high = (model(x, steering=Attached(SMALL, [look(SMALL, decoder_only=True)], c)) for c in controls)
        assert torch.equal(low["likelihoods"]["y"], high["likelihoods"]["y"])
        assert not torch.equal(low["x_hat"], high["x_hat"])
        roi = Controls(maps={"roi": torch.rand(2, 1, 70, 64)})
        a = model(x, steering=Attached(SMALL, [region(SMALL)], roi))
        assert not torch.equal(a["likelihoods"]["y"], model(x)["likelihoods"]["y"])


@pytest.mark.parametrize(
    "options",
    [
        {"encoder": "pooled", "decoder_carry": [2, 3]},
        {"decoder": "generated"},
        {"encoder": "none", "decoder": "pooled", "prompts": 4},
        {"encoder_carry": [0, 1], "prompts": 4},
        {"encoder": "tokens", "prompts": 64},
        {"encoder_stages": [2], "prompts": 64},
    ],
)
def test_ablations_of_transtic_run_and_learn(options) -> None:
    model = small_model()
    adapter = TransTIC(SMALL, width=4, **options)
    out = model(torch.rand(2, 3, 128, 64), steering=Attached(SMALL, [adapter]))
    (out["x_hat"].square().mean() + sum(-p.log2().mean() for p in out["likelihoods"].values())).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in adapter.parameters() if p.dim() != 1)


def test_stacking_concatenates_prompts() -> None:
    model, x = small_model(), torch.rand(1, 3, 64, 64)
    controls = Controls({"look": constant(0.2), "rate": constant(0.4)}, {"roi": torch.ones(1, 1, 64, 64)})
    stack = Attached(SMALL, [rate(SMALL), region(SMALL), look(SMALL)], controls)
    assert len(stack.for_encoder(x).sites[Site("g_a", 1, 3)].prompts) == 3
    assert model(x, steering=stack)["x_hat"].shape == x.shape


def test_files(tmp_path: Path) -> None:
    model, path = small_model(), tmp_path / "look.safetensors"
    adapter = Pyramid(SMALL, "warm", scalars=("look",), encoder_stages=[0, 1])
    save_adapter(adapter, model, path)
    stored = load_adapter(path, model)
    assert stored.name == "warm"
    assert stored.adapter.options == adapter.options
    for name, value in adapter.state_dict().items():
        assert torch.equal(stored.adapter.state_dict()[name], value.half().float())
    assert sum(t.numel() for t in load_file(path).values()) == sum(p.numel() for p in adapter.parameters())
    with pytest.raises(ModelMismatchError, match=r"adapter warm was trained on tic .* this base is tic"):
        load_adapter(path, small_model(1))
    assert base_fingerprint(model) == base_fingerprint(small_model())
    tensors = load_file(path)
    with pytest.raises(ModelMismatchError, match="found no promptcodec adapter at all"):
        save_file(tensors, tmp_path / "foreign.safetensors")
        load_adapter(tmp_path / "foreign.safetensors", model)
    with pytest.raises(ModelMismatchError, match="neither a file nor shipped"):
        load_adapter(tmp_path / "none.safetensors", model)
    (tmp_path / "short.safetensors").write_bytes(path.read_bytes()[:100])
    with pytest.raises(ModelMismatchError, match="cannot be read"):
        load_adapter(tmp_path / "short.safetensors", model)


def test_unknown_kinds(tmp_path: Path) -> None:
    class Mine(Adapter, kind="mine"):
        pass

    model = small_model()
    save_adapter(Mine(SMALL), model, tmp_path / "mine.safetensors")
    assert load_adapter(tmp_path / "mine.safetensors", model).name == "mine"
    del Adapter.kinds["mine"]
    with pytest.raises(UsageError, match=r"unknown kind of adapter 'mine'; known are .*transtic"):
        load_adapter(tmp_path / "mine.safetensors", model)


def test_prompts_from_features_follow_what_passes() -> None:
    """Those of the late decoder stages are made of the features before them, which earlier adapters may change."""
    model, x = small_model(), torch.rand(1, 3, 64, 64)
    adapter = TransTIC(SMALL, encoder="none", decoder="generated")
    steering = adapter.for_decoder(Decoded(torch.zeros(1, 16, 1, 1)), Controls())
    assert {s for s in steering.sites if s.stage >= 2} == {Site("g_s", 2, i) for i in range(4)} | {
        Site("g_s", 3, i) for i in range(2)
    }
    y, kept = torch.randn(2, 32, 4, 4), []
    with torch.no_grad():
        first = model.g_s(y, steering.within("g_s"))
        second = model.g_s(y.flip(0), steering.within("g_s"))
        for i, out in enumerate((second[1:], second[:1])):
            torch.testing.assert_close(out, first[i : i + 1], atol=1e-5, rtol=0)

        def spy(features: torch.Tensor) -> torch.Tensor:
            kept.append(features)
            return features

        seen = steering.then(Steering({Site("g_s", 1): BlockSteer(outputs=(spy,))}))
        model.g_s(y, seen.within("g_s"))
        assert adapter.features is not None
        made = adapter.features.pyramid(kept[0]).sites[Site("g_s", 3, 1)]
        by_hand = dict(steering.sites) | dict(adapter.features.pyramid(kept[0]).sites)
        assert torch.equal(model.g_s(y, Steering(by_hand).within("g_s")), first)
        without = {site: steer for site, steer in by_hand.items() if site != Site("g_s", 3, 1)}
        assert made.prompts
        assert not torch.equal(model.g_s(y, Steering(without).within("g_s")), first)
    assert model(x, steering=Attached(SMALL, [adapter]))["x_hat"].shape == x.shape
    with pytest.raises(UsageError, match=r"cannot be made of features before stage 0: .*use tokens"):
        TransTIC(nano(), encoder="none", decoder="generated")
    with pytest.raises(UsageError, match="no prompts 'generated' in the encoder with 'shared' in the decoder"):
        TransTIC(SMALL, decoder="shared")  # type: ignore[arg-type]


@torch.no_grad()
def test_stacked_adapters_do_not_see_each_other() -> None:
    """Each one's steering in the stack is what it is alone, in the order of the stack; only attention mixes them."""
    x, y = torch.rand(1, 3, 64, 64), torch.randn(1, 32, 4, 4)
    controls = Controls({"look": constant(0.2), "rate": constant(0.4)}, {"roi": torch.rand(1, 1, 64, 64)})
    adapters = [rate(SMALL), region(SMALL), look(SMALL)]
    decoded = Decoded(torch.zeros(1, 16, 1, 1), y)
    for half, names in ((lambda s: s.for_encoder(x), 3), (lambda s: s.for_decoder(decoded), 2)):
        stack = half(Attached(SMALL, adapters, controls))
        alone = [half(Attached(SMALL, [adapter], controls)) for adapter in adapters]
        for site, steer in stack.sites.items():
            expected = [prompt for single in alone if site in single.sites for prompt in single.sites[site].prompts]
            assert len(expected) == names
            for found, prompt in zip(steer.prompts, expected, strict=True):
                assert torch.equal(found.tokens, prompt.tokens)
