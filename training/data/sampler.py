"""In which order pictures are learnt from. It follows from seed, epoch and the pictures done, so a run that resumes in
the middle of an epoch needs no state of a loader, whatever the number of its processes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

#: Keeps the orders of neighbouring seeds and epochs apart.
_STRIDE = 1_000_003


@dataclass(frozen=True)
class Step:
    """The micro-batches of one step that fall to one rank, as numbers of pictures, and the pictures on all ranks.

    A rank for which the last step leaves nothing is `idle`: it takes a picture of another's, which must not count.
    """

    micro_batches: list[list[int]]
    pictures: int
    idle: bool


def steps(
    count: int,
    *,
    batch_size: int,
    micro_batch_size: int = 0,
    seed: int,
    epoch: int,
    done: int = 0,
    rank: int = 0,
    world: int = 1,
) -> list[Step]:
    """The steps of an epoch over `count` pictures, after the first `done` of them.

    `batch_size` counts the pictures on all ranks; each takes every `world`-th, in micro-batches of at most so many.
    """
    generator = torch.Generator().manual_seed(seed * _STRIDE + epoch)
    order = torch.randperm(count, generator=generator).tolist()
    found = []
    for first in range(done, count, batch_size):
        chosen = order[first : first + batch_size]
        share = chosen[rank::world]
        rows = share or chosen[:1]
        width = micro_batch_size or len(rows)
        micro_batches = [rows[start : start + width] for start in range(0, len(rows), width)]
        found.append(Step(micro_batches, len(chosen), idle=not share))
    return found
