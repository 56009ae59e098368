"""Chooses the values that become black and white in an image with more than 8 bits per band.

The choice is needed because 12 bits are often stored in 16, and because measurements such as heights or temperatures
have no fixed range. Image viewers have to choose likewise.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, bisect_right

from PIL import Image

from common import problems
from common.images import tiff

#: Side in pixels to which an image is subsampled before its values are read.
SAMPLE_SIDE = 256
#: Smallest absolute value that marks missing data: -3.4e38 (GIS), 9.97e36 (netCDF), 1e20 (CMIP).
MIN_FILL_VALUE = 1e20
#: Fraction of the values at either end that may be outliers, as in QGIS' cumulative cut.
OUTLIER_FRACTION = 0.02
#: Distance of outliers from the other values, as a multiple of these values' span.
OUTLIER_DISTANCE = 2
#: Full-scale values: 1 for normalised values, and those of 8 to 32 bits.
FULL_SCALES = (1, *(2**bits - 1 for bits in range(8, 33)))
#: Smallest fraction of a full scale that the values must span for it to be chosen.
MIN_SPAN = 0.25


def is_deep(image: Image.Image) -> bool:
    """Return whether a decoded image's values are in another range than 0 to 255."""
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def levels(image: Image.Image) -> tuple[float, float]:
    """Return the values of black and white of a decoded image that `is_deep`. In a negative, white is the smaller one.

    Raises `damaged-image` if no sampled pixel has a value.
    """
    missing = tiff.no_data(image)
    values = [value for value in _values(image) if abs(value) < MIN_FILL_VALUE and value != missing]
    if not values:
        raise problems.DAMAGED_IMAGE(
            "No pixel of the picture has a value that can be displayed: all are infinite, not a number or marked as "
            "missing. Send a picture with values."
        )
    black, white = value_range(values)
    return (white, black) if tiff.white_is_zero(image) else (black, white)


def high_byte_levels(image: Image.Image) -> tuple[float, float]:
    """Return the 16-bit values of black and white of a decoded RGB or RGBA image that has their upper 8 bits."""
    return value_range([257.0 * byte for byte in _sample(image).convert("RGB").tobytes()])


def value_range(values: list[float]) -> tuple[float, float]:
    """Return the values of black and white for an image with these values.

    Normally they are 0 and the smallest full scale (1, or that of 8, 9, 10... bits) that is not below the largest
    value, so that the image keeps its brightness. If values are negative or span less than a quarter of the full
    scale, they are the smallest and the largest value. Outliers are ignored: at most 2% at either end, and far from
    the other values.
    """
    values = sorted(values)
    tail = int(len(values) * OUTLIER_FRACTION)
    low, high = values[tail], values[-1 - tail]
    if distance := OUTLIER_DISTANCE * (high - low):
        values = values[bisect_left(values, low - distance) : bisect_right(values, high + distance)]
    smallest, largest = values[0], values[-1]
    full = next((scale for scale in FULL_SCALES if scale >= largest), math.inf)
    if smallest >= 0 and (smallest == largest or largest - smallest >= MIN_SPAN * full):
        return 0.0, float(full)
    return smallest, largest


def _values(image: Image.Image) -> array[float]:
    return array("f", _sample(image).convert("F").tobytes())


def _sample(image: Image.Image) -> Image.Image:
    return image.resize((min(image.width, SAMPLE_SIDE), min(image.height, SAMPLE_SIDE)), Image.Resampling.NEAREST)
