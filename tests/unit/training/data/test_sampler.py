"""The order of an epoch follows from seed, epoch and the images already seen, for any number of ranks."""

from __future__ import annotations

from itertools import chain

import pytest

from training.data.sampler import Step, steps


def images(plan: list[Step]) -> list[list[int]]:
    """The image indices of each step of one rank."""
    return [[number for rows in step.micro_batches for number in rows] for step in plan]


def test_an_epoch_contains_every_image_once() -> None:
    plan = steps(10, batch_size=4, seed=1, epoch=1)

    assert sorted(chain(*images(plan))) == list(range(10))
    assert [step.images for step in plan] == [4, 4, 2]


def test_the_order_depends_on_seed_and_epoch() -> None:
    orders = [images(steps(50, batch_size=50, seed=seed, epoch=epoch)) for seed, epoch in [(1, 1), (1, 2), (2, 1)]]

    assert orders[0] == images(steps(50, batch_size=50, seed=1, epoch=1))
    assert orders[0] != orders[1] != orders[2] != orders[0]


def test_skipped_images_are_a_prefix_of_the_epoch() -> None:
    whole = steps(10, batch_size=4, micro_batch_size=2, seed=1, epoch=3)

    assert steps(10, batch_size=4, micro_batch_size=2, seed=1, epoch=3, skip=4) == whole[1:]


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_divide_each_step(world: int) -> None:
    alone = images(steps(11, batch_size=6, seed=1, epoch=1))
    shares = [images(steps(11, batch_size=6, seed=1, epoch=1, rank=rank, world=world)) for rank in range(world)]

    for number, step in enumerate(alone):
        assert sorted(chain(*(share[number] for share in shares))) == sorted(step)


def test_a_step_is_split_into_micro_batches() -> None:
    (step,) = steps(8, batch_size=8, micro_batch_size=3, seed=1, epoch=1)

    assert [len(rows) for rows in step.micro_batches] == [3, 3, 2]


def test_a_rank_without_images_is_idle() -> None:
    plans = [steps(5, batch_size=4, seed=1, epoch=1, rank=rank, world=2) for rank in (0, 1)]

    assert [[step.idle for step in plan] for plan in plans] == [[False, False], [False, True]]
    assert plans[1][1].micro_batches == plans[0][1].micro_batches
