"""The order in which an epoch goes through the images.

The order follows from seed, epoch and the number of images already seen. So a run that resumes in the middle of an
epoch needs no data loader state, whatever the number of loader processes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

#: Gives each pair of seed and epoch its own generator seed.
_STRIDE = 1_000_003


@dataclass(frozen=True)
class Step:
    """One step of one rank: its micro-batches, as image indices, and the number of images on all ranks.

    A rank without images in the last step is `idle`: it runs another rank's image and discards the gradients.
    """

    micro_batches: list[list[int]]
    images: int
    idle: bool


def steps(
    count: int,
    *,
    batch_size: int,
    micro_batch_size: int = 0,
    seed: int,
    epoch: int,
    skip: int = 0,
    rank: int = 0,
    world: int = 1,
) -> list[Step]:
    """The steps of an epoch over `count` images, without the first `skip` images.

    `batch_size` counts the images on all ranks. Each rank takes every `world`-th image of a step, in micro-batches of
    at most `micro_batch_size`; 0 means one micro-batch.
    """
    generator = torch.Generator().manual_seed(seed * _STRIDE + epoch)
    order = torch.randperm(count, generator=generator).tolist()
    plan = []
    for first in range(skip, count, batch_size):
        batch = order[first : first + batch_size]
        own = batch[rank::world]
        indices = own or batch[:1]
        size = micro_batch_size or len(indices)
        micro_batches = [indices[start : start + size] for start in range(0, len(indices), size)]
        plan.append(Step(micro_batches, len(batch), idle=not own))
    return plan
