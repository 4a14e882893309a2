"""What is known of memory: what a process holds, and which errors say that there is too little."""

import numpy as np
import pytest
import torch

from promptcodec.system.memory import available_bytes, is_lack_of_memory, resident_bytes


@pytest.mark.parametrize(
    "allocate", [lambda: torch.empty(2**55, dtype=torch.uint8), lambda: np.ones(2**55, np.uint8), lambda: bytes(2**62)]
)
def test_allocations_that_fail_are_told_from_other_errors(allocate):
    with pytest.raises((MemoryError, RuntimeError)) as raised:
        allocate()
    assert is_lack_of_memory(raised.value)


def test_other_errors_are_no_lack_of_memory():
    with pytest.raises(RuntimeError) as raised:
        torch.zeros(2, 3) @ torch.zeros(2, 3)
    assert not is_lack_of_memory(raised.value)
    assert not is_lack_of_memory(ValueError("memory"))


def test_a_process_holds_less_than_it_could_have():
    if available_bytes() is None:
        pytest.skip("this system does not tell")
    assert 0 < resident_bytes() < available_bytes()
