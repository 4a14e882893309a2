"""What coverage-guided fuzzing runs by the million (``fuzz/``), on its committed corpus and a few damaged copies."""

from pathlib import Path

import numpy as np
import pytest
from targets import TARGETS

CORPUS = Path(__file__).parents[1] / "fuzz" / "corpus"


@pytest.mark.parametrize("name", TARGETS)
def test_corpus_and_neighbours(name):
    rng = np.random.default_rng(0)
    inputs = [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]
    assert inputs
    for data in inputs:
        TARGETS[name](data)
        for _ in range(5):
            changed = bytearray(data)
            if changed:
                changed[rng.integers(len(changed))] = rng.integers(256)
            TARGETS[name](bytes(changed))


def test_targets_notice_what_they_are_for(monkeypatch):
    from promptcodec.bitstream import container
    from promptcodec.bitstream import rans as coder

    data = (CORPUS / "container" / "plain").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(container, "pack", lambda file: data[:-1])
        with pytest.raises(Exception, match="missing"):
            TARGETS["container"](data)
    with monkeypatch.context() as patch:
        patch.setattr(coder, "encode", lambda steps, backend: backend.encode())
        with pytest.raises(AssertionError, match="different bytes"):
            TARGETS["coding"](b"\4abc")
