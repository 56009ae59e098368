"""Images of more than 8 bits decode to the same pixels as the corresponding images of 8 bits."""

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
#: Grey values from black (0) to white (1).
RAMP = np.linspace(0, 1, 32 * 40).reshape(32, 40)
EXPECTED = np.round(RAMP * 255)
#: Colour types of PNG.
GREY, RGB, RGBA = 0, 2, 6
#: Pixels of the ramp that are overwritten.
ROWS, COLUMNS = [0, 11, 31], [0, 7, 39]


def encoded(values: np.ndarray[Any, Any], format: str = "TIFF", **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, format, **options)
    return buffer.getvalue()


def png(colour: int, values: np.ndarray[Any, Any], transparent: tuple[int, ...] = ()) -> bytes:
    """Encode a 16-bit PNG of a colour type."""
    height, width = values.shape[:2]
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0))
    key = chunk(b"tRNS", struct.pack(f">{len(transparent)}H", *transparent)) if transparent else b""
    rows = b"".join(b"\0" + row.tobytes() for row in values.astype(">u2"))
    return b"\x89PNG\r\n\x1a\n" + header + key + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def grey(data: bytes) -> np.ndarray[Any, Any]:
    """Return the grey values of the decoded image, and assert that `check` accepts it."""
    decoding.check(data, LIMIT)
    return np.asarray(decoding.decode(data, LIMIT)).astype(int)[..., 0]


class TestSixteenBits:
    @pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
    @pytest.mark.parametrize(
        ("format", "type"),
        [("PNG", np.uint16), ("TIFF", np.uint16), ("TIFF", np.dtype(">u2")), ("TIFF", np.int32), ("TIFF", np.float32)],
    )
    def test_the_used_bit_depth_counts_not_that_of_the_file(self, format: str, type: Any, bits: int) -> None:
        data = encoded(np.round(RAMP * (2**bits - 1)).astype(type), format)

        assert np.abs(grey(data) - EXPECTED).max() <= 1

    def test_a_16_bit_photograph_keeps_its_brightness(self) -> None:
        values = (9_000 + RAMP * 42_000).astype(np.uint16)

        assert np.abs(grey(encoded(values, "PNG")) - values / 257).max() <= 1

    def test_outliers_do_not_change_the_bit_depth(self) -> None:
        values = np.round(RAMP * 4095).astype(np.uint16)
        values[ROWS, COLUMNS] = 65_535

        actual = grey(encoded(values))

        assert actual[ROWS, COLUMNS].min() == 255
        assert np.abs(np.delete(actual - EXPECTED, ROWS, axis=0)).max() <= 1

    @pytest.mark.parametrize(("bits", "error"), [(12, 17), (16, 1)])
    @pytest.mark.parametrize("colour", [RGB, RGBA])
    def test_colour_images_follow_the_same_rule(self, colour: int, bits: int, error: int) -> None:
        band = np.round(RAMP * (2**bits - 1))
        opaque = np.full_like(band, 65_535)
        data = png(colour, np.stack([band, band, band, opaque][: 3 if colour == RGB else 4], -1))

        # Pillow keeps the upper 8 of 16 bits. Of 12-bit values these are only 4.
        assert np.abs(grey(data) - EXPECTED).max() <= error

    def test_the_transparent_grey_of_a_png_becomes_white(self) -> None:
        data = png(GREY, np.array([[4660, 60_875], [60_875, 4660]]), transparent=(4660,))

        assert grey(data).tolist() == [[255, 237], [237, 255]]

    def test_the_transparent_colour_of_a_png_becomes_white(self) -> None:
        data = png(RGB, np.array([[[0x8012, 0x7000, 0x1234], [0xFFFF, 0, 0]]]), transparent=(0x8012, 0x7000, 0x1234))

        assert np.asarray(decoding.decode(data, LIMIT)).tolist() == [[[255, 255, 255], [255, 0, 0]]]


class TestMeasurements:
    """Measurements such as heights or temperatures: floats in any range, with missing values."""

    @pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, -3.4e38, 9.97e36, 1e20, -9999.0])
    @pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 255), (0, 4095), (-40, 35), (2000, 2100), (-1e-6, 1e-6)])
    def test_missing_values_are_ignored(self, bad: float, low: float, high: float) -> None:
        values = (low + RAMP * (high - low)).astype(np.float32)
        values[ROWS, COLUMNS] = bad

        actual = grey(encoded(values))

        assert set(actual[ROWS, COLUMNS]) == {255 if bad > 0 else 0}
        assert np.abs(np.delete(actual - EXPECTED, ROWS, axis=0)).max() <= 1

    def test_gdal_s_missing_value_is_ignored(self) -> None:
        values = (RAMP * 255).astype(np.float32)
        values[16:] = -9999

        actual = grey(encoded(values, tiffinfo={42113: "-9999"}))

        assert actual[15, 39] == pytest.approx(255 * RAMP[15, 39], abs=1)
        assert actual[16:].max() == 0

    @pytest.mark.parametrize("bad", [math.nan, math.inf, -3.4e38])
    def test_an_image_without_any_value_is_refused(self, bad: float) -> None:
        data = encoded(np.full((8, 8), bad, dtype=np.float32))

        for function in (decoding.check, decoding.decode):
            with pytest.raises(Problem, match="No pixel of the picture has a value") as error:
                function(data, LIMIT)
            assert error.value.kind is problems.DAMAGED_IMAGE

    @pytest.mark.parametrize(("value", "level"), [(0, 0), (0.5, 128), (1, 255), (128, 128), (-5, 0)])
    def test_an_image_of_a_single_value_is_decoded(self, value: float, level: int) -> None:
        assert set(grey(encoded(np.full((8, 8), value, dtype=np.float32))).flat) == {level}


class TestNegatives:
    """In these TIFFs 0 is white."""

    @pytest.mark.parametrize("type", [np.uint8, np.uint16, np.float32])
    @pytest.mark.parametrize("compression", ["raw", "tiff_adobe_deflate"])
    def test_zero_is_white_at_every_bit_depth(self, type: Any, compression: str) -> None:
        white = 4095 if type is np.uint16 else 255
        values = np.round((1 - RAMP) * white).astype(type)
        data = bytearray(encoded(values, compression=compression))
        offset = data.index(struct.pack("<HHI", 262, 3, 1))
        data[offset : offset + 12] = struct.pack("<HHII", 262, 3, 1, 0)

        assert np.abs(grey(bytes(data)) - EXPECTED).max() <= 1

    @pytest.mark.parametrize("compression", ["raw", "group4"])
    def test_zero_is_white_with_one_bit(self, compression: str) -> None:
        line = Image.new("1", (40, 32), 1)
        line.paste(0, (0, 0, 20, 32))
        buffer = io.BytesIO()
        line.save(buffer, "TIFF", compression=compression)
        data = bytearray(buffer.getvalue())
        offset = data.index(struct.pack("<HHI", 262, 3, 1))
        photometric = data[offset + 8]
        data[offset + 8] = 1 - photometric

        positive, negative = (grey(bytes(file)) for file in (buffer.getvalue(), data))

        assert (positive[0, 0], positive[0, 39]) == (0, 255)
        assert (positive + negative == 255).all()


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
def test_value_range_is_a_full_scale_or_that_of_the_values(values: list[float], expected: tuple[float, float]) -> None:
    assert value_range(values) == expected
