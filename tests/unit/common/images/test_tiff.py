"""TIFFs with bands that Pillow alone would misread."""

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
    """Encode a little-endian RGB TIFF with further bands. `extra` is the value of the tag ExtraSamples."""
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
    """Return random bands of red, green and blue, and the expected 8-bit pixels."""
    pixels = np.random.default_rng(0).integers(0, np.iinfo(type).max, (HEIGHT, WIDTH, 3), dtype=type)
    pixels[0, 0] = np.iinfo(type).max
    return [pixels[..., band] for band in range(3)], (pixels >> (8 * pixels.itemsize - 8)).astype(int)


@pytest.mark.parametrize("type", [np.uint8, np.uint16])
@pytest.mark.parametrize("extra", [None, 0])
@pytest.mark.parametrize("deflate", [False, True])
def test_an_untagged_fourth_band_is_not_transparency(type: Any, extra: int | None, deflate: bool) -> None:
    bands, expected = colours(type)

    image = decoding.decode(tiff([*bands, np.zeros_like(bands[0])], deflate=deflate, extra=extra), LIMIT)

    assert np.abs(np.asarray(image).astype(int) - expected).max() == 0


@pytest.mark.parametrize("type", [np.uint8, np.uint16])
def test_a_fourth_band_tagged_as_alpha_is_transparency(type: Any) -> None:
    bands, _ = colours(type)

    image = decoding.decode(tiff([*bands, np.zeros_like(bands[0])], extra=2), LIMIT)

    assert image.getcolors() == [(WIDTH * HEIGHT, (255, 255, 255))]


@pytest.mark.parametrize("type", [np.uint8, np.uint16])
@pytest.mark.parametrize("deflate", [False, True])
def test_separately_stored_bands_are_decoded(type: Any, deflate: bool) -> None:
    bands, expected = colours(type)

    image = decoding.decode(tiff(bands, separate=True, deflate=deflate), LIMIT)

    assert np.abs(np.asarray(image).astype(int) - expected).max() == 0
