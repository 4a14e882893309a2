"""Several processes as one run: who is who, and how they agree. Started by torchrun, or a world of one."""

from __future__ import annotations

import atexit
import os
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

from promptcodec.errors import UsageError
from promptcodec.model.inference.device import check_device


@dataclass(frozen=True)
class World:
    """This process among ``size`` of them; ``local`` counts those of one machine."""

    rank: int = 0
    size: int = 1
    local: int = 0

    @staticmethod
    def join() -> World:
        """Return the world that torchrun's environment describes; its process group is set up.

        Without torchrun, of one.
        """
        size = int(os.environ.get("WORLD_SIZE", "1"))
        if size == 1:
            return World()
        if not dist.is_initialized():
            # Tensors of the host go over gloo also beside GPUs, so that agreeing does not wait for kernels.
            dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
            atexit.register(_leave)
        return World(int(os.environ["RANK"]), size, int(os.environ.get("LOCAL_RANK", "0")))

    @property
    def leads(self) -> bool:
        """Whether this process writes the files and speaks."""
        return self.rank == 0

    def device(self, name: str) -> torch.device:
        """Return the device ``name`` stands for; auto takes a GPU if there is one. Raises UsageError."""
        if name == "auto":
            name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        check_device(name)
        if name == "cuda":
            name = f"cuda:{self.local}"
            check_device(name)
            torch.cuda.set_device(self.local)
        return torch.device(name)

    def distribute(self, module: nn.Module) -> nn.Module:
        """Return ``module`` with gradients averaged over all processes in backward."""
        return module if self.size == 1 else DistributedDataParallel(module)

    def any(self, *flags: bool) -> list[bool]:
        """Return each flag, set where it is set in any process."""
        if self.size == 1:
            return list(flags)
        tensor = torch.tensor(flags, dtype=torch.int32)
        dist.all_reduce(tensor, dist.ReduceOp.MAX)
        return [bool(flag) for flag in tensor.tolist()]

    def from_leader(self, value: Any) -> Any:
        """Return ``value`` of the leading process."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, 0, device=torch.device("cpu"))
        return box[0]

    def total(self, tensor: Tensor) -> Tensor:
        """Sum over all processes."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def parts(self, least: int) -> int:
        """Return the parts of a batch: those of the recipe, or as many as there are processes. Raises UsageError."""
        parts = max(least, self.size)
        if parts % self.size:
            raise UsageError(f"{least} parts of a batch cannot be shared out evenly to {self.size} processes")
        return parts


def _leave() -> None:
    """End the process group while its threads can be joined: left to the interpreter, they may abort the process."""
    if dist.is_initialized():
        dist.destroy_process_group()
