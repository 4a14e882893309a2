"""A recogniser of your own for ``promptcodec eval --task classify --recogniser examples/own_recogniser.py:TwoScales``.

The network is a stand-in with random weights: put yours in its place. Losses see ``features``, scores ``predict``.
"""

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from promptcodec.quality.pixels import Pixels
from promptcodec.tasks.recogniser import Classes, Recogniser


class TwoScales(Recogniser):
    """Classifies into ten classes by what it sees at 1/4 and 1/8 of the sides."""

    task = "classify"

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():  # random weights, in place of: self.load_state_dict(torch.load("mine.pth"))
            torch.manual_seed(7)
            self.fine = nn.Sequential(nn.Conv2d(3, 16, 7, 4, 3), nn.ReLU())
            self.coarse = nn.Sequential(nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU())
            self.head = nn.Linear(32, 10)

    def prepare(self, pixels: Pixels) -> Pixels:
        return np.asarray(Image.fromarray(pixels).resize((128, 128)))

    def features(self, x: Tensor) -> list[Tensor]:
        fine = self.fine(x)
        return [fine, self.coarse(fine)]

    @torch.no_grad()
    def predict(self, x: Tensor) -> Classes:
        logits = self.head(self.features(x)[-1].mean((2, 3)))[0]
        probabilities, ranking = logits.softmax(0).topk(5)
        return Classes(tuple(ranking.tolist()), tuple(probabilities.tolist()))
