"""Parameter counts of the full-size adapters: those of the papers."""

import json
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from promptcodec.model.presets import tic
from promptcodec.steer.pyramid import look, rate_and_region
from promptcodec.steer.transtic import TransTIC

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
        ({"encoder": "none"}, 0, 30_720),
        ({"decoder": "none"}, 1_589_248, 0),
        ({"encoder": "pooled"}, 1_589_248, 30_720),
        ({"encoder": "tokens"}, 6 * 16 * 128, 30_720),
    ],
)
def test_transtic_and_its_ablations(options: dict[str, Any], encoder: int, decoder: int) -> None:
    adapter = TransTIC(TIC, **options)
    assert (count(adapter.encoder), count(adapter.decoder)) == (encoder, decoder)


def test_kao_and_look() -> None:
    kao = rate_and_region(TIC)
    assert (count(kao.encoder), count(kao.decoder)) == (2_967_616, 3_285_120)
    assert BASE + count(kao) == 13_763_459
    assert 17_658_179 + count(rate_and_region(tic(192, 320))) == 32_696_387
    assert count(look(TIC)) == 6_249_536
    assert count(look(TIC, decoder_only=True)) == 3_285_120


def test_the_counts_on_file(shared: Path) -> None:
    models = {m["id"]: m for m in json.loads((shared / "golden/counts.json").read_text())["models"]}
    transtic = models["transtic"]["params"]
    adapter = TransTIC(TIC)
    assert transtic["total"] == BASE + count(adapter)
    assert transtic["extractor_with_head"] == count(adapter.get_submodule("encoder.trunk.0"))
    assert models["kao_192_320"]["params"]["total"] == 17_658_179 + count(rate_and_region(tic(192, 320)))
    assert models["paper000_both_sides"]["params"]["prompts"] == count(look(TIC))
    assert models["paper000_decoder_only"]["params"]["total"] == BASE + count(look(TIC, decoder_only=True))
