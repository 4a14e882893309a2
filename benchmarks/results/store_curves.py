"""Write src/promptcodec/evaluate/data/curves/compressai.json from CompressAI's result files.

    python -m benchmarks.results.store_curves kodak=FOLDER clic2020=FOLDER

Each folder is one of ``results/image/`` in CompressAI's repository. Times are left out: they are of other machines.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from promptcodec.evaluate.data.stored import read_compressai

TARGET = Path(__file__).resolve().parents[2] / "src/promptcodec/evaluate/data/curves/compressai.json"
SOURCE = (
    "InterDigital CompressAI, results/image of https://github.com/InterDigitalInc/CompressAI at commit 869a9f5 "
    "(BSD-3-Clause-Clear); published, not measured here."
)
NAMES = {"bpg_444_x265_ycbcr": "bpg", "av1": "av1"}
NOTES = {"vtm": "The version of VTM is not named; 4:4:4.", "bpg_444_x265_ycbcr": "4:4:4, x265, YCbCr."}
VARIABLE = "-vbr-ans"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", metavar="DATASET=FOLDER")
    parser.add_argument("--out", type=Path, default=TARGET)
    options = parser.parse_args()
    curves = {}
    for argument in options.folders:
        dataset, _, folder = argument.partition("=")
        for path in sorted(Path(folder).glob("*.json")):
            curve = read_compressai(path)
            stem = path.stem.removeprefix("compressai-").removesuffix("_cpu").replace(VARIABLE, "-vbr")
            name = NAMES.get(path.stem, stem.removesuffix("_mse").replace("_ms-ssim", "-ms-ssim"))
            learned = "Inference" in curve.description
            entry: dict[str, object] = {"description": curve.name if learned else curve.description}
            if path.stem in NOTES:
                entry["note"] = NOTES[path.stem]
            for key in ("bpp", "psnr", "ms_ssim"):
                entry[key] = [round(getattr(point, key), 6) for point in curve.points]
            curves[f"{dataset}/{name}"] = entry
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(curve)}" for name, curve in curves.items())
    options.out.write_text(f'{{"source": {json.dumps(SOURCE)},\n "curves": {{\n{lines}\n }}\n}}\n')
    print(f"{len(curves)} curves, {options.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
