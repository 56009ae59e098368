"""Data augmentation."""

from __future__ import annotations

import random

import numpy as np
import pytest

from tests.support.images import drawing
from training.data.augment import allows_mirroring, augment_image


def test_a_view_depends_on_the_seed_and_has_the_requested_size() -> None:
    first, again, other = (
        np.asarray(augment_image(drawing(), 48, random.Random(seed), mirror=True)) for seed in (1, 1, 2)
    )

    assert first.shape == (48, 48, 3)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(
    ("caption", "allowed"), [("a Left shoe", False), ("a bright dog", True), ("turn right", False)]
)
def test_captions_with_left_or_right_forbid_mirroring(caption: str, allowed: bool) -> None:
    assert allows_mirroring(["a dog", caption]) is allowed
