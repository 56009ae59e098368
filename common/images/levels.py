"""Which values of a picture become black and white, where a pixel has more than 8 bits.

A program that shows such a picture to a person has to choose, too: 12 bits are often stored in 16, and the values of a
measurement, such as heights or temperatures, are in no fixed range at all.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, bisect_right

from PIL import Image

from common import problems
from common.images import tiff

#: Side of the grid in pixels at which the values are read; smaller pictures are read whole.
GRID = 256
#: Values that are at least so large, with either sign, mark missing ones: -3.4e38 (GIS), 9.97e36 (netCDF), 1e20 (CMIP).
FILL = 1e20
#: The part of the values at either end that may be outliers, as in QGIS' cumulative cut.
TAIL = 0.02
#: Outliers are further from the rest than so many times its span.
REACH = 2
#: The full scales: of normalised values, and of 8 to 32 bits.
SCALES = (1, *(2**bits - 1 for bits in range(8, 33)))
#: The part of a full scale that the values must span for it to be taken.
SPAN = 0.25


def is_deep(image: Image.Image) -> bool:
    """Whether the values of a decoded picture are not 0 to 255."""
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def levels(image: Image.Image) -> tuple[float, float]:
    """The values of black and white of a decoded picture that `is_deep`; white is the smaller one in a negative.

    Raises `damaged-image` when there is hardly a pixel with a value.
    """
    missing = tiff.no_data(image)
    values = [value for value in _values(image) if abs(value) < FILL and value != missing]
    if not values:
        raise problems.DAMAGED_IMAGE(
            "No pixel of the picture has a value that can be shown: all are infinite, not a number or marked as "
            "missing. Send a picture with values."
        )
    black, white = value_range(values)
    return (white, black) if tiff.white_is_zero(image) else (black, white)


def high_byte_levels(image: Image.Image) -> tuple[float, float]:
    """The 16-bit values of black and white of a decoded picture in RGB or RGBA that has their upper 8 bits."""
    return value_range([257.0 * byte for byte in _grid(image).convert("RGB").tobytes()])


def value_range(values: list[float]) -> tuple[float, float]:
    """The values of black and white.

    They are 0 and the smallest full scale (1, or that of 8, 9, 10... bits) that holds the largest value, so that a
    picture keeps its brightness, unless the values span less than a quarter of it or are negative: then they are the
    smallest and the largest value. Outliers do not count: at most 2% at either end, and far from the rest.
    """
    values = sorted(values)
    tail = int(len(values) * TAIL)
    low, high = values[tail], values[-1 - tail]
    if reach := REACH * (high - low):
        values = values[bisect_left(values, low - reach) : bisect_right(values, high + reach)]
    smallest, largest = values[0], values[-1]
    full = next((scale for scale in SCALES if scale >= largest), math.inf)
    if smallest >= 0 and (smallest == largest or largest - smallest >= SPAN * full):
        return 0.0, float(full)
    return smallest, largest


def _values(image: Image.Image) -> array[float]:
    return array("f", _grid(image).convert("F").tobytes())


def _grid(image: Image.Image) -> Image.Image:
    return image.resize((min(image.width, GRID), min(image.height, GRID)), Image.Resampling.NEAREST)
