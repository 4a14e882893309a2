"""Parameter counts of the full-size adapters: those of the papers."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from golden import Vectors
from torch import nn

from promptcodec.evaluate.cost.adapter_complexity import adapter_parts
from promptcodec.evaluate.cost.complexity import build, parts, total
from promptcodec.model import config
from promptcodec.model.presets.registry import PRESETS, tic
from promptcodec.steer.adapter import Adapter
from promptcodec.steer.methods.beta import Beta
from promptcodec.steer.methods.channels import ChannelSelection
from promptcodec.steer.methods.gain_units import GainUnits
from promptcodec.steer.methods.lpm import LPM
from promptcodec.steer.methods.pyramid import look, rate_and_region
from promptcodec.steer.methods.sft import SFT
from promptcodec.steer.methods.song import QualityMap
from promptcodec.steer.methods.transtic import TransTIC

TIC = tic()
BASE_ENCODER, BASE_DECODER, BASE = 3_648_640, 3_862_083, 7_510_723


def count(module: nn.Module | None) -> int:
    return sum(p.numel() for p in module.parameters()) if module is not None else 0


@pytest.mark.parametrize(
    ("options", "encoder", "decoder"),
    [
        ({}, 1_589_248, 30_720),
        ({"prompts": 4}, 1_589_248, 7_680),
        ({"prompts": 64}, 1_589_248, 122_880),
        ({"decoder_stages": [2, 3]}, 1_589_248, 12_288),
        ({"decoder_stages": [0, 1]}, 1_589_248, 18_432),
        ({"encoder_carry": [0, 1]}, 4_647_552 - BASE_ENCODER, 30_720),
        ({"decoder_carry": [2, 3]}, 1_589_248, 3_884_611 - BASE_DECODER),
        ({"decoder": "generated"}, 1_589_248, 5_061_187 - BASE_DECODER),
        ({"decoder": "pooled"}, 1_589_248, 5_061_187 - BASE_DECODER),
        ({"decoder": "generated", "decoder_stages": [2, 3]}, 1_589_248, 5_061_187 - BASE_DECODER - 18_432),
        ({"encoder": "none"}, 0, 30_720),
        ({"decoder": "none"}, 1_589_248, 0),
        ({"encoder": "pooled"}, 1_589_248, 30_720),
        ({"encoder": "tokens"}, 6 * 16 * 128, 30_720),
    ],
)
def test_transtic_and_its_ablations(options: dict[str, Any], encoder: int, decoder: int) -> None:
    adapter = TransTIC(TIC, **options)
    assert (count(adapter.encoder), count(adapter.decoder) + count(adapter.features)) == (encoder, decoder)


def test_kao_and_look() -> None:
    kao = rate_and_region(TIC)
    assert (count(kao.encoder), count(kao.decoder)) == (2_967_616, 3_285_120)
    assert BASE + count(kao) == 13_763_459
    assert 17_658_179 + count(rate_and_region(tic(192, 320))) == 32_696_387
    assert count(look(TIC)) == 6_249_536
    assert count(look(TIC, decoder_only=True)) == 3_285_120


def test_the_counts_on_file(vectors: Vectors) -> None:
    models = vectors.counts()
    transtic = models["transtic"]["params"]
    adapter = TransTIC(TIC)
    assert transtic["total"] == BASE + count(adapter)
    assert transtic["extractor_with_head"] == count(adapter.get_submodule("encoder.trunk.0"))
    assert models["kao_192_320"]["params"]["total"] == 17_658_179 + count(rate_and_region(tic(192, 320)))
    assert models["paper000_both_sides"]["params"]["prompts"] == count(look(TIC))
    assert models["paper000_decoder_only"]["params"]["total"] == BASE + count(look(TIC, decoder_only=True))


MakeAdapter = Callable[[config.Model], Adapter]
STEERED: list[tuple[str, str, MakeAdapter]] = [
    ("transtic", "tic", TransTIC),
    ("transtic_4_prompts", "tic", lambda base: TransTIC(base, prompts=4)),
    ("transtic_64_prompts", "tic", lambda base: TransTIC(base, prompts=64)),
    ("transtic_dec_stb12", "tic", lambda base: TransTIC(base, decoder_stages=[2, 3])),
    ("transtic_dec_stb34", "tic", lambda base: TransTIC(base, decoder_stages=[0, 1])),
    ("kao_128_192", "tic", rate_and_region),
    ("kao_192_320", "tic-large", rate_and_region),
    ("paper000_both_sides", "tic", look),
    ("paper000_decoder_only", "tic", lambda base: look(base, decoder_only=True)),
    ("song_qmap_192_192", "song", QualityMap),
]


def steered(preset: str, make: MakeAdapter, size: int = 256):
    """Encoder and decoder of a preset with an adapter, counted."""
    base = PRESETS[preset]()
    with torch.device("meta"):
        found = parts(build(base), size, size) + adapter_parts([make(base)], size, size)
    return {"encoder": total(found, "g_a", "h_a"), "decoder": total(found, "h_s", "g_s")}


@pytest.mark.parametrize(("key", "preset", "make"), STEERED, ids=[key for key, _, _ in STEERED])
def test_macs_on_file(vectors: Vectors, key: str, preset: str, make: MakeAdapter) -> None:
    expected, found = vectors.counts()[key], steered(preset, make)
    for side, part in found.items():
        kmac = expected["kmac_per_pixel"][side]
        assert part.macs.true / 65536e3 == pytest.approx(kmac["true"], abs=0.001)
        assert part.macs.paper002 / 65536e3 == pytest.approx(kmac["published_convention"], abs=0.001)
        if "true_with_gdn" in kmac:
            assert (part.macs.true + part.macs.gdn) / 65536e3 == pytest.approx(kmac["true_with_gdn"], abs=0.001)
    if "encoder" in expected["params"] and preset != "song":  # there the bottleneck is counted elsewhere
        bottleneck = expected["params"].get("entropy_bottleneck", 7808)
        assert found["encoder"].parameters + bottleneck == expected["params"]["encoder"]
        assert found["decoder"].parameters == expected["params"]["decoder"]


@pytest.mark.parametrize(
    ("options", "side", "printed"),
    [
        ({"encoder_carry": [0, 1]}, "encoder", 322.80),
        ({"decoder_carry": [2, 3]}, "decoder", 209.51),
        ({"decoder": "generated"}, "decoder", 276.39),
        ({"decoder": "none"}, "decoder", 188.52),
        ({"encoder": "none"}, "encoder", 142.54),
    ],
)
def test_macs_of_variants_that_only_the_paper_prints(options: dict[str, Any], side: str, printed: float) -> None:
    """Two of them are printed cut off rather than rounded."""
    found = steered("tic", lambda base: TransTIC(base, **options))[side]
    assert found.macs.paper002 / 65536e3 == pytest.approx(printed, abs=0.0066)


@pytest.mark.parametrize("make", [TransTIC, look, LPM, SFT, Beta, ChannelSelection, GainUnits])
def test_every_parameter_is_counted_once(make: MakeAdapter) -> None:
    base = tic()
    with torch.device("meta"):
        adapter = make(base)
    found = total(adapter_parts([adapter], 256, 256))
    assert found.parameters == count(adapter)
    assert found.macs.needed <= found.macs.true


def test_prompts_are_projected_once_a_map() -> None:
    """p prompts in a window of 64 tokens, width C: (3C²p + 128pC)/64 a token in the papers, 2C²p of it here."""
    with torch.device("meta"):
        found = adapter_parts([TransTIC(tic(), decoder_stages=[3], encoder="none")], 256, 256)
    macs = total([p for p in found if p.kind == "prompts"]).macs
    c, p, tokens, layers = 128, 16, 128 * 128, 2
    assert macs.true == layers * tokens * (3 * c * c * p + 128 * p * c) / 64
    assert macs.needed == layers * (tokens * 128 * p * c / 64 + 2 * c * c * p)  # shared tokens: once for all windows
    with torch.device("meta"):
        found = adapter_parts([TransTIC(tic(), encoder_stages=[0], decoder="none")], 256, 256)
    macs = total([part for part in found if part.kind == "prompts"]).macs
    assert macs.needed == layers * tokens * (2 * c * c * p + 128 * p * c) / 64
