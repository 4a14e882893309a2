"""Validation curves of model files of one run, as that run would have logged them: for runs that had no validation set.

    python benchmarks/rd_over_samples.py --set VAL --set KODAK --out DIR 164132=nano-1.safetensors 209196=trunk.safetensors

Adds lines to DIR/validation.jsonl; ``promptcodec plot DIR --set kodak --against kodak/vtm`` draws them. Sets and
samples that are there already are not measured again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from promptcodec.codec.allocator import keep_large_blocks
from promptcodec.train.pictures import load_pictures
from promptcodec.train.rd_log import NAME, add_rd, read_rd
from promptcodec.train.validation import validate
from promptcodec.zoo.model_file import load_model


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
                add_rd(arguments.out, int(samples), source, validate(load_model(Path(model)).network, pictures))
                print(source, argument, flush=True)


if __name__ == "__main__":
    main()
