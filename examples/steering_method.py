"""A steering method of one's own: one class. This one warms or cools the decoded picture, as the file says.

python examples/steering_method.py [PICTURE [ADAPTER_FILE]]
"""

import sys
from pathlib import Path

import numpy as np
import torch

import promptcodec
from promptcodec.model.steering import Affine, BlockSteer, Steering
from promptcodec.steer.adapter import Adapter
from promptcodec.steer.adapter_file import save_adapter
from promptcodec.steer.sites import stages


class Warmth(Adapter, kind="warmth"):
    """Shifts the last stage's features by a learned vector times a scalar that travels in the file."""

    signals = ("warmth",)

    def __init__(self, base, name=""):
        super().__init__(base, name)
        last = stages(base, "g_s")[-1]
        self.output, self.direction = last.output, torch.nn.Parameter(torch.randn(last.channels) / 4)

    def for_decoder(self, decoded, signalled):
        shift = (signalled.scalar("warmth").to(decoded.y)[:, None] * self.direction)[:, :, None, None]
        return Steering({self.output: BlockSteer(outputs=(Affine(shift=shift),))})


def main() -> None:
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("photo.jpg")
    file = Path(sys.argv[2]) if len(sys.argv) > 2 else Path("warmth.safetensors")
    network = promptcodec.load().backend.network
    save_adapter(Warmth(network.config), network, file)  # untrained; promptcodec train would train it

    plain = promptcodec.decode(promptcodec.encode(path, 50))
    for warmth in (0.0, 1.0):
        data = promptcodec.encode(path, 50, adapters=[file], settings={"warmth": warmth})
        steered = promptcodec.decode(data, adapters=[file])
        change = np.abs(np.asarray(steered, float) - np.asarray(plain, float)).mean()
        print(f"warmth {warmth:g}: needs {promptcodec.info(data).adapters}, mean change {change:.2f} levels")


if __name__ == "__main__":
    main()
