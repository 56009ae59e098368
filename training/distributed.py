"""The processes of one run: one alone, or as many as `torchrun` starts, on one machine or several.

All of `torch.distributed` that a run uses is here. Without torchrun nothing of it is touched.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

Item = TypeVar("Item")


@dataclass(frozen=True)
class Ranks:
    """This process among those of the run: its number, how many there are, its number on this machine."""

    rank: int = 0
    world: int = 1
    local: int = 0

    @property
    def first(self) -> bool:
        """Whether it is the one that writes and speaks."""
        return self.rank == 0

    def device(self, wanted: str) -> torch.device:
        """Where this process computes: `wanted`, or for `auto` a GPU of its own when there are some."""
        if wanted == "auto":
            wanted = "cuda" if torch.cuda.is_available() else "cpu"
        if wanted == "cuda" and self.world > 1:
            wanted = f"cuda:{self.local}"
        device = torch.device(wanted)
        if device.type == "cuda" and device.index is not None:
            torch.cuda.set_device(device)
        return device

    def wrap(self, module: torch.nn.Module) -> torch.nn.Module:
        """The module with its gradients averaged over the ranks."""
        return module if self.world == 1 else DistributedDataParallel(module, broadcast_buffers=False)

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """The sum over the ranks, on each of them. It is made on the CPU, so that no GPU has to wait for it."""
        total = values.detach().cpu().clone()
        if self.world > 1:
            dist.all_reduce(total)
        return total

    def gather(self, item: Item) -> list[Item]:
        """What each rank has, on each of them, in their order."""
        if self.world == 1:
            return [item]
        items: list[Any] = [None] * self.world
        dist.all_gather_object(items, item)
        return items


@contextmanager
def joined() -> Iterator[Ranks]:
    """Join the processes that torchrun started, if it did."""
    if not dist.is_torchelastic_launched():
        yield Ranks()
        return
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size(), dist.get_node_local_rank())
    finally:
        dist.destroy_process_group()


def without_sync(module: torch.nn.Module) -> AbstractContextManager[None]:
    """Gradients of a pass under it stay on their rank and add up, until one outside is averaged with them."""
    found: AbstractContextManager[None] = (
        module.no_sync() if isinstance(module, DistributedDataParallel) else nullcontext()
    )
    return found
