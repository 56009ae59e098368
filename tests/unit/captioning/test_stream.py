"""A stream of images is captioned in order, in batches, and is read no further than needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from captioning.captioner import Pixels
from captioning.stream import BATCHES_AHEAD, caption_stream
from common import problems
from common.jobs import ModelInfo, Output
from common.options import SearchOptions
from common.problems import Problem


class Numbers:
    """A captioner whose images are numbers; 13 is damaged."""

    model = ModelInfo(name="numbers", version="1", demo=False)
    device, precision = "cpu", "fp32"
    server = None

    def __init__(self) -> None:
        self.batches: list[int] = []

    def prepare(self, data: bytes) -> Pixels:
        if data == b"13":
            raise problems.DAMAGED_IMAGE("Thirteen.")
        return np.array([int(data)], dtype=np.float32)

    def caption(self, pictures: Sequence[Pixels], search: SearchOptions | None = None) -> list[Output | Problem]:
        self.batches.append(len(pictures))
        return [Output(caption=f"number {int(pixels[0])}", score=-1.0) for pixels in pictures]


def test_captions_come_in_order_and_a_bad_image_fails_alone() -> None:
    captioner = Numbers()

    results = dict(caption_stream(captioner, range(10, 17), lambda number: str(number).encode(), 3))

    assert list(results) == list(range(10, 17))
    thirteen = results.pop(13)
    assert isinstance(thirteen, Problem) and thirteen.detail == "Thirteen."
    assert {number: result.caption for number, result in results.items() if isinstance(result, Output)} == {
        number: f"number {number}" for number in (10, 11, 12, 14, 15, 16)
    }
    assert captioner.batches == [3, 2, 1]


def test_items_are_read_only_as_far_as_decoding_ahead_needs_them() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(1000):
            taken.append(number)
            yield number

    stream = caption_stream(Numbers(), items(), lambda number: str(number).encode(), 4)
    next(stream)

    assert len(taken) == (1 + BATCHES_AHEAD) * 4


def test_an_error_of_the_model_ends_the_stream() -> None:
    class Broken(Numbers):
        def caption(self, pictures: Sequence[Pixels], search: SearchOptions | None = None) -> list[Output | Problem]:
            raise RuntimeError("no memory")

    with pytest.raises(RuntimeError, match="no memory"):
        list(caption_stream(Broken(), range(10), lambda number: str(number).encode(), 4))
