"""The processes of a run: one process, or those that `torchrun` starts on one or several machines.

This module contains all uses of `torch.distributed`. Without torchrun it is not used.
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
    """Rank of this process, number of processes (`world`), and rank on this machine (`local`)."""

    rank: int = 0
    world: int = 1
    local: int = 0

    @property
    def first(self) -> bool:
        """Whether this is rank 0, which logs and writes files."""
        return self.rank == 0

    def device(self, name: str) -> torch.device:
        """The device called `name`. `auto` is CUDA if available; with several ranks each gets its own GPU."""
        if name == "auto":
            name = "cuda" if torch.cuda.is_available() else "cpu"
        if name == "cuda" and self.world > 1:
            name = f"cuda:{self.local}"
        device = torch.device(name)
        if device.type == "cuda" and device.index is not None:
            torch.cuda.set_device(device)
        return device

    def wrap(self, module: torch.nn.Module) -> torch.nn.Module:
        """The module, in DDP if there are several ranks, which averages gradients over them."""
        return module if self.world == 1 else DistributedDataParallel(module, broadcast_buffers=False)

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """Sum of a tensor over the ranks, on the CPU. Every rank must call it and gets the result."""
        total = values.detach().cpu().clone()
        if self.world > 1:
            dist.all_reduce(total)
        return total

    def gather(self, item: Item) -> list[Item]:
        """The items of all ranks, ordered by rank. Every rank must call it and gets the result."""
        if self.world == 1:
            return [item]
        items: list[Any] = [None] * self.world
        dist.all_gather_object(items, item)
        return items


@contextmanager
def process_group() -> Iterator[Ranks]:
    """The process group of the processes that torchrun started; a single rank without torchrun."""
    if not dist.is_torchelastic_launched():
        yield Ranks()
        return
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size(), dist.get_node_local_rank())
    finally:
        dist.destroy_process_group()


def without_sync(module: torch.nn.Module) -> AbstractContextManager[None]:
    """Accumulate gradients locally; the next backward pass outside of this context averages them over the ranks."""
    if isinstance(module, DistributedDataParallel):
        no_sync: AbstractContextManager[None] = module.no_sync()
        return no_sync
    return nullcontext()
