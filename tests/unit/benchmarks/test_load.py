"""The load benchmark's pictures are all different, and its figures are what they say."""

from __future__ import annotations

import itertools

import pytest

from benchmarks.load import Load, different, slope
from common.images import decoding


def test_every_picture_is_another_file_and_each_can_be_read() -> None:
    pictures = list(itertools.islice(different(), 20))

    assert len(set(pictures)) == 20
    assert {decoding.check(picture, 10**6) for picture in pictures} == {decoding.ImageInfo("JPEG", 640, 480)}


def test_the_slope_is_that_of_the_second_half() -> None:
    start = [(float(second), 100.0 + second) for second in range(60)]
    rest = [(float(second), 160.0 + second / 3600) for second in range(60, 120)]

    assert slope(start + rest) == pytest.approx(1.0)


def test_a_question_without_answer_takes_for_ever() -> None:
    load = Load(probes=[0.002] * 95 + [float("inf")] * 5)

    assert load.status(50) == 2.0
    assert load.status(99) == float("inf")
