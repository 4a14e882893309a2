"""How far a frozen encoder can be steered by prompts at all: prompts fitted to one picture, without a network.

python -m benchmarks.experiments.prompt_leverage --test FOLDER [--model nano --model FILE …] [--crops 8] [--steps 60]

On crops of 256 x 256 pixels with a rectangle that counts four times as much as the rest (as in steering_effect.py), a
prompt map of its own for every block of the encoder is fitted by gradient descent to that very crop and region. An
adapter, which has to guess such prompts, can hardly be expected to lower the loss by more. The figure is the fall of
R + λ 255² MSE weighted by the region, with latents rounded, in percent, mean and standard error over crops. Results
go to benchmarks/results/prompt_leverage.json and into docs/steering/experiments.md.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import promptcodec
from benchmarks.base_network import network_of
from benchmarks.experiments.steering_effect import SIDE, Crop, crops
from benchmarks.marked import replace_marked
from promptcodec.model import config
from promptcodec.model.base import CompressionModel
from promptcodec.model.presets.registry import CONFIGURATIONS
from promptcodec.model.steering import BlockSteer, Prompt, Steering
from promptcodec.steer.adapter import Adapter
from promptcodec.steer.attached import Attached
from promptcodec.steer.controls import Controls
from promptcodec.steer.sites import stages, stages_with_tokens
from promptcodec.train.losses.steering import relative_region_loss

ROOT = Path(__file__).resolve().parents[2]
RESULTS, PAGE = ROOT / "benchmarks" / "results" / "prompt_leverage.json", ROOT / "docs" / "steering" / "experiments.md"
STRIDE = 2  # tokens a side that a prompt stands for, as in the papers
Q, LEARNING_RATE = 0.35, 0.05


class FreePrompts(Adapter, kind="free-prompts"):
    """A prompt map for every block of g_a that takes one, for pictures of SIDE x SIDE pixels."""

    def __init__(self, base: config.Model, name: str = "") -> None:
        super().__init__(base, name)
        scale, sides = 1, {}
        for stage in stages(base, "g_a"):
            scale *= math.prod(layer.stride for layer in stage.before)
            sides[stage.index] = SIDE // scale // STRIDE
        self.blocks = [block for stage in stages_with_tokens(base, "g_a", None) for block in stage.blocks]
        self.tokens = nn.ParameterList(
            torch.zeros(1, stage.channels, sides[stage.index], sides[stage.index])
            for stage in stages_with_tokens(base, "g_a", None)
            for _ in stage.blocks
        )

    def for_encoder(self, x: Tensor, controls: Controls) -> Steering:
        """The maps as they are."""
        prompts = (BlockSteer((Prompt(tokens, STRIDE),)) for tokens in self.tokens)
        return Steering({block.site: steer for block, steer in zip(self.blocks, prompts, strict=True)})


def fall(model: CompressionModel, crop: Crop, steps: int) -> float:
    """By how many percent the loss of one crop falls."""
    assert model.gain is not None
    prompts, q = FreePrompts(model.config), torch.tensor([Q])
    rate_lambda = model.gain.lambda_min * (model.gain.lambda_max / model.gain.lambda_min) ** q
    steering = Attached(model.config, [prompts], Controls({}, {}))

    def loss(quantisation: str, steer: Attached | None) -> Tensor:
        out = model(crop.x, q, quantisation, steer)
        return relative_region_loss(out, crop.x, rate_lambda, crop.roi).mean()

    with torch.no_grad():
        before = float(loss("round", None))
    optimiser = torch.optim.Adam(prompts.parameters(), LEARNING_RATE)
    for _ in range(steps):
        optimiser.zero_grad()
        loss("mixed", steering).backward()
        optimiser.step()
    with torch.no_grad():
        return 100 * (1 - float(loss("round", steering)) / before)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--model", action="append", help="name of a shipped model, or a model file; nano by default")
    parser.add_argument("--crops", type=int, default=8)
    parser.add_argument("--steps", type=int, default=60)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    for name in options.model or ["nano"]:
        torch.manual_seed(0)
        codec = promptcodec.load(name)
        model = network_of(codec).eval().requires_grad_(False)
        falls = [round(fall(model, crop, options.steps), 3) for crop in crops(options.test, options.crops)]
        rows[codec.name] = {"base": codec.fingerprint, "steps": options.steps, "fall_percent": falls}
        print(codec.name, falls, flush=True)
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n")
    lines = ["| base | the region's loss falls by | crops | prompted blocks of the encoder |", "|---|---|---|---|"]
    for name, row in rows.items():
        falls = row["fall_percent"]
        mean, error = float(np.mean(falls)), float(np.std(falls, ddof=1) / math.sqrt(len(falls)))
        blocks = sum(len(stage.blocks) for stage in stages_with_tokens(CONFIGURATIONS[name](), "g_a", None))
        lines.append(f"| `{name}` | {mean:.2f} ± {error:.2f} % | {len(falls)} | {blocks} |")
    replace_marked(PAGE, "leverage", "\n".join(lines))


if __name__ == "__main__":
    main()
