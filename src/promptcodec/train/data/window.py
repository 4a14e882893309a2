"""Decoded pictures in memory, oldest first, on the training device as far as they fit."""

from __future__ import annotations

from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

DEVICE_SHARE = 0.25  # of an accelerator's free memory; what exceeds it stays with the host

Key = TypeVar("Key")


class Window(Generic[Key]):
    """``pictures``, uint8 (H, W, 3) each, and in ``keys`` where each came from; ``bytes`` of all of them."""

    def __init__(self, device: torch.device, memory: int | None) -> None:
        self.device, self.memory = device, memory
        self.pictures: list[Tensor] = []
        self.keys: list[Key] = []
        self.bytes = 0
        self._room = 2**62  # CPU and mps: memory is shared with the host
        if device.type == "cuda":
            self._room = int(DEVICE_SHARE * torch.cuda.mem_get_info(device)[0])

    @property
    def full(self) -> bool:
        """Whether there is more than ``memory`` allows."""
        return self.memory is not None and self.bytes > self.memory and len(self.pictures) > 1

    def add(self, key: Key, picture: NDArray[np.uint8]) -> None:
        """Append a picture."""
        tensor = torch.tensor(picture)
        if self.device.type != "cpu" and tensor.nbytes <= self._room:
            tensor = tensor.to(self.device)
            self._room -= tensor.nbytes
        self.pictures.append(tensor)
        self.keys.append(key)
        self.bytes += tensor.nbytes

    def drop_oldest(self) -> None:
        """Let the first picture go."""
        picture = self.pictures.pop(0)
        self.keys.pop(0)
        self.bytes -= picture.nbytes
        if picture.device.type != "cpu":
            self._room += picture.nbytes
