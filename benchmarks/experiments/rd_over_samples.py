"""Validation curves of a run's model files, as that run would have logged them: for runs that had no validation set.

    python -m benchmarks.experiments.rd_over_samples --set VAL --set KODAK --out DIR 0=first.safetensors 45064=runs/2
    promptcodec plot training DIR --dataset kodak --curve kodak/vtm

Each model is named with the samples it had seen: a model file, or the folder of a run, whose checkpoint's average is
taken. Adds lines to DIR/validation.jsonl; sets and samples that are there already are not measured again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from promptcodec.evaluate.data.rd_log import NAME, add_rd, read_rd
from promptcodec.model.base import CompressionModel
from promptcodec.model.presets.registry import CONFIGURATIONS
from promptcodec.store.model_file import load_model
from promptcodec.system.allocator import keep_large_blocks
from promptcodec.train.data.pictures import load_pictures
from promptcodec.train.run.checkpoint import load_checkpoint
from promptcodec.train.validation import validate


def network(path: Path) -> CompressionModel:
    """The model of a file, or of the checkpoint in a folder."""
    state = load_checkpoint(path) if path.is_dir() else None
    if state is None:
        return load_model(path).network
    model = CompressionModel(CONFIGURATIONS[state["recipe"]["model"]]())
    model.load_state_dict(state["average"])
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="SAMPLES=MODEL")
    parser.add_argument("--set", dest="sets", action="append", required=True, help="folder or tar file of pictures")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    keep_large_blocks()
    torch.set_num_threads(arguments.threads)
    arguments.out.mkdir(parents=True, exist_ok=True)
    there = {(row.dataset, row.samples) for row in read_rd(arguments.out)} if (arguments.out / NAME).is_file() else ()
    for source in arguments.sets:
        pictures = load_pictures([source])
        for argument in arguments.models:
            samples, _, model = argument.partition("=")
            if (Path(source).stem, int(samples)) not in there:
                add_rd(arguments.out, int(samples), source, validate(network(Path(model)), pictures))
                print(source, argument, flush=True)


if __name__ == "__main__":
    main()
