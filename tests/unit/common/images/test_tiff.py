"""TIFFs with bands that Pillow takes for something else."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
import pytest

from common.images import decoding

WIDTH, HEIGHT = 20, 10
LIMIT = 1_000_000


def tiff(
    bands: list[np.ndarray[Any, Any]], separate: bool = False, deflate: bool = False, extra: int | None = None
) -> bytes:
    """A little-endian TIFF in RGB with further bands, which the tag ExtraSamples describes if `extra` is given."""
    planes = bands if separate else [np.stack(bands, -1)]
    data = [plane.astype(plane.dtype.newbyteorder("<")).tobytes() for plane in planes]
    if deflate:
        data = [zlib.compress(plane) for plane in data]
    bits = [8 * bands[0].itemsize] * len(bands)
    tags: list[tuple[int, str, list[int]]] = [
        (256, "H", [WIDTH]),
        (257, "H", [HEIGHT]),
        (258, "H", bits),
        (259, "H", [8 if deflate else 1]),
        (262, "H", [2]),
        (273, "I", [0] * len(data)),
        (277, "H", [len(bands)]),
        (278, "H", [HEIGHT]),
        (279, "I", [len(plane) for plane in data]),
        (284, "H", [2 if separate else 1]),
        *([] if extra is None else [(338, "H", [extra])]),
    ]
    values = {tag: struct.pack(f"<{len(numbers)}{kind}", *numbers) for tag, kind, numbers in tags}
    start = 8 + 2 + 12 * len(tags) + 4
    offsets = [start + sum(map(len, values.values())) + sum(map(len, data[:number])) for number in range(len(data))]
    values[273] = struct.pack(f"<{len(offsets)}I", *offsets)
    directory, outside = struct.pack("<H", len(tags)), b""
    for tag, kind, numbers in tags:
        value = values[tag]
        directory += struct.pack("<HHI", tag, 3 if kind == "H" else 4, len(numbers))
        directory += value.ljust(4, b"\0") if len(value) <= 4 else struct.pack("<I", start + len(outside))
        outside += value if len(value) > 4 else b""
    return (b"II*\0\x08\0\0\0" + directory + bytes(4) + outside).ljust(offsets[0], b"\0") + b"".join(data)


def colours(type: Any) -> tuple[list[np.ndarray[Any, Any]], np.ndarray[Any, Any]]:
    """Red, green and blue that differ in each pixel, and what is to be seen of them."""
    whole = np.random.default_rng(0).integers(0, np.iinfo(type).max, (HEIGHT, WIDTH, 3), dtype=type)
    whole[0, 0] = np.iinfo(type).max
    return [whole[..., band] for band in range(3)], (whole >> (8 * whole.itemsize - 8)).astype(int)


@pytest.mark.parametrize("type", [np.uint8, np.uint16])
@pytest.mark.parametrize("extra", [None, 0])
@pytest.mark.parametrize("deflate", [False, True])
def test_a_fourth_band_without_a_name_is_not_transparency(type: Any, extra: int | None, deflate: bool) -> None:
    bands, expected = colours(type)

    picture = decoding.decode(tiff([*bands, np.zeros_like(bands[0])], deflate=deflate, extra=extra), LIMIT)

    assert np.abs(np.asarray(picture).astype(int) - expected).max() == 0


@pytest.mark.parametrize("type", [np.uint8, np.uint16])
def test_a_fourth_band_that_is_named_as_transparency_is_that(type: Any) -> None:
    bands, _ = colours(type)

    picture = decoding.decode(tiff([*bands, np.zeros_like(bands[0])], extra=2), LIMIT)

    assert picture.getcolors() == [(WIDTH * HEIGHT, (255, 255, 255))]


@pytest.mark.parametrize("type", [np.uint8, np.uint16])
@pytest.mark.parametrize("deflate", [False, True])
def test_bands_may_be_stored_one_after_the_other(type: Any, deflate: bool) -> None:
    bands, expected = colours(type)

    picture = decoding.decode(tiff(bands, separate=True, deflate=deflate), LIMIT)

    assert np.abs(np.asarray(picture).astype(int) - expected).max() == 0
