"""What is black and white in pictures of more than 8 bits, so that they look as the same picture of 8 bits."""

from __future__ import annotations

import io
import math
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from common import problems
from common.images import decoding
from common.images.levels import value_range
from common.problems import Problem
from tests.support.hostile import chunk

LIMIT = 1_000_000
#: From black to white, 0 to 1.
RAMP = np.linspace(0, 1, 32 * 40).reshape(32, 40)
EXPECTED = np.round(RAMP * 255)
#: PNG's colour types.
GREY, RGB, RGBA = 0, 2, 6
#: Pixels of the ramp that are overwritten, the first one among them.
ROWS, COLUMNS = [0, 11, 31], [0, 7, 39]


def encoded(values: np.ndarray[Any, Any], format: str = "TIFF", **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, format, **options)
    return buffer.getvalue()


def png(colour: int, values: np.ndarray[Any, Any], transparent: tuple[int, ...] = ()) -> bytes:
    """A PNG of 16 bits, of that colour type."""
    height, width = values.shape[:2]
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0))
    key = chunk(b"tRNS", struct.pack(f">{len(transparent)}H", *transparent)) if transparent else b""
    rows = b"".join(b"\0" + row.tobytes() for row in values.astype(">u2"))
    return b"\x89PNG\r\n\x1a\n" + header + key + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def grey(data: bytes) -> np.ndarray[Any, Any]:
    """The picture's grey values as the model would get them; what it decodes must be accepted, too."""
    decoding.check(data, LIMIT)
    return np.asarray(decoding.decode(data, LIMIT)).astype(int)[..., 0]


class TestSixteenBits:
    @pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
    @pytest.mark.parametrize(
        ("format", "type"),
        [("PNG", np.uint16), ("TIFF", np.uint16), ("TIFF", np.dtype(">u2")), ("TIFF", np.int32), ("TIFF", np.float32)],
    )
    def test_the_depth_that_is_used_counts_and_not_the_one_of_the_file(self, format: str, type: Any, bits: int) -> None:
        data = encoded(np.round(RAMP * (2**bits - 1)).astype(type), format)

        assert np.abs(grey(data) - EXPECTED).max() <= 1

    def test_a_photograph_in_16_bits_stays_as_it_is(self) -> None:
        values = (9_000 + RAMP * 42_000).astype(np.uint16)

        assert np.abs(grey(encoded(values, "PNG")) - values / 257).max() <= 1

    def test_a_hot_pixel_does_not_make_12_bits_16(self) -> None:
        values = np.round(RAMP * 4095).astype(np.uint16)
        values[ROWS, COLUMNS] = 65_535

        found = grey(encoded(values))

        assert found[ROWS, COLUMNS].min() == 255
        assert np.abs(np.delete(found - EXPECTED, ROWS, axis=0)).max() <= 1

    @pytest.mark.parametrize(("bits", "error"), [(12, 17), (16, 1)])
    @pytest.mark.parametrize("colour", [RGB, RGBA])
    def test_several_bands_follow_the_same_rule(self, colour: int, bits: int, error: int) -> None:
        band = np.round(RAMP * (2**bits - 1))
        opaque = np.full_like(band, 65_535)
        data = png(colour, np.stack([band, band, band, opaque][: 3 if colour == RGB else 4], -1))

        # Pillow keeps the upper 8 of 16 bits, which are 4 of 12.
        assert np.abs(grey(data) - EXPECTED).max() <= error

    def test_the_grey_that_a_png_names_as_transparent_is_white(self) -> None:
        data = png(GREY, np.array([[4660, 60_875], [60_875, 4660]]), transparent=(4660,))

        assert grey(data).tolist() == [[255, 237], [237, 255]]

    def test_the_colour_that_a_png_names_as_transparent_is_white(self) -> None:
        data = png(RGB, np.array([[[0x8012, 0x7000, 0x1234], [0xFFFF, 0, 0]]]), transparent=(0x8012, 0x7000, 0x1234))

        assert np.asarray(decoding.decode(data, LIMIT)).tolist() == [[[255, 255, 255], [255, 0, 0]]]


class TestMeasurements:
    """Heights, temperatures and the like: floats in no fixed range, and with values that are none."""

    @pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, -3.4e38, 9.97e36, 1e20, -9999.0])
    @pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 255), (0, 4095), (-40, 35), (2000, 2100), (-1e-6, 1e-6)])
    def test_values_that_are_none_do_not_count(self, bad: float, low: float, high: float) -> None:
        values = (low + RAMP * (high - low)).astype(np.float32)
        values[ROWS, COLUMNS] = bad

        found = grey(encoded(values))

        assert set(found[ROWS, COLUMNS]) == {255 if bad > 0 else 0}
        assert np.abs(np.delete(found - EXPECTED, ROWS, axis=0)).max() <= 1

    def test_the_value_that_gdal_names_as_missing_does_not_count_however_often_it_is_there(self) -> None:
        values = (RAMP * 255).astype(np.float32)
        values[16:] = -9999

        found = grey(encoded(values, tiffinfo={42113: "-9999"}))

        assert found[15, 39] == pytest.approx(255 * RAMP[15, 39], abs=1)
        assert found[16:].max() == 0

    @pytest.mark.parametrize("bad", [math.nan, math.inf, -3.4e38])
    def test_a_picture_without_any_value_is_refused_when_it_is_sent(self, bad: float) -> None:
        data = encoded(np.full((8, 8), bad, dtype=np.float32))

        for task in (decoding.check, decoding.decode):
            with pytest.raises(Problem, match="No pixel of the picture has a value") as refused:
                task(data, LIMIT)
            assert refused.value.kind is problems.DAMAGED_IMAGE

    @pytest.mark.parametrize(("value", "level"), [(0, 0), (0.5, 128), (1, 255), (128, 128), (-5, 0)])
    def test_a_picture_of_one_value_is_read(self, value: float, level: int) -> None:
        assert set(grey(encoded(np.full((8, 8), value, dtype=np.float32))).flat) == {level}


class TestNegatives:
    """TIFFs in which 0 is white."""

    @pytest.mark.parametrize("type", [np.uint8, np.uint16, np.float32])
    @pytest.mark.parametrize("compression", ["raw", "tiff_adobe_deflate"])
    def test_zero_is_white_at_any_depth(self, type: Any, compression: str) -> None:
        white = 4095 if type is np.uint16 else 255
        values = np.round((1 - RAMP) * white).astype(type)
        data = bytearray(encoded(values, compression=compression))
        place = data.index(struct.pack("<HHI", 262, 3, 1))
        data[place : place + 12] = struct.pack("<HHII", 262, 3, 1, 0)

        assert np.abs(grey(bytes(data)) - EXPECTED).max() <= 1

    @pytest.mark.parametrize("compression", ["raw", "group4"])
    def test_one_bit(self, compression: str) -> None:
        line = Image.new("1", (40, 32), 1)
        line.paste(0, (0, 0, 20, 32))
        buffer = io.BytesIO()
        line.save(buffer, "TIFF", compression=compression)
        data = bytearray(buffer.getvalue())
        place = data.index(struct.pack("<HHI", 262, 3, 1))
        photometric = data[place + 8]
        data[place + 8] = 1 - photometric

        found, negative = (grey(bytes(one)) for one in (buffer.getvalue(), data))

        assert (found[0, 0], found[0, 39]) == (0, 255)
        assert (found + negative == 255).all()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 4095], (0, 4095)),
        ([0, 4096], (0, 8191)),
        ([0, 256], (0, 511)),
        ([0.0, 0.7], (0, 1)),
        ([3000, 60_000], (0, 65_535)),
        ([30_000, 33_000], (30_000, 33_000)),
        ([-1, 1], (-1, 1)),
        ([5] * 9, (0, 255)),
        ([0, 1e12], (0, 1e12)),
    ],
)
def test_the_range_is_a_full_scale_or_the_values_own(values: list[float], expected: tuple[float, float]) -> None:
    assert value_range(values) == expected
