"""The overload test: different images, the memory slope and the probe's percentiles."""

from __future__ import annotations

import itertools

import pytest

from benchmarks.load import Measurements, different_images, slope
from common.images import decoding


def test_all_images_differ_and_are_valid() -> None:
    images = list(itertools.islice(different_images(), 20))

    assert len(set(images)) == 20
    assert {decoding.check(image, 10**6) for image in images} == {decoding.ImageInfo("JPEG", 640, 480)}


def test_the_slope_ignores_the_first_half() -> None:
    start = [(float(second), 100.0 + second) for second in range(60)]
    rest = [(float(second), 160.0 + second / 3600) for second in range(60, 120)]

    assert slope(start + rest) == pytest.approx(1.0)


def test_a_failed_probe_counts_as_infinite_latency() -> None:
    measured = Measurements(probes=[0.002] * 95 + [float("inf")] * 5)

    assert measured.status_ms(50) == 2.0
    assert measured.status_ms(99) == float("inf")
