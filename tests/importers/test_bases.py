"""Parameter names of the reference, in ours."""

import pytest
import torch

from promptcodec.errors import UsageError
from promptcodec.importers.bases import from_reference


def test_reference_checkpoints(vectors):
    golden = vectors("tic_hp")
    state = {k.removeprefix("param/"): v for k, v in golden.items() if k.startswith("param/")}
    ours = from_reference(state)
    assert len(ours) == len(state)
    with pytest.raises(UsageError, match="belongs to no layer"):
        from_reference({"projection.weight": torch.zeros(1)})
