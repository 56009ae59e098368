"""Reads tags of a TIFF that Pillow ignores. The functions accept images of any format."""

from __future__ import annotations

import contextlib
import math

from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

# Numbers of tags (TIFF 6.0, section 8), and of GDAL's tag for the value that marks missing data.
WIDTH, LENGTH, BITS, PHOTOMETRIC, PLANES, EXTRA_SAMPLES, NO_DATA = 256, 257, 258, 262, 284, 338, 42113
WHITE_IS_ZERO, SEPARATE = 0, 2


def white_is_zero(image: Image.Image) -> bool:
    """Return whether the smallest value is white. Pillow inverts such images itself only up to 8 bits."""
    return isinstance(image, TiffImageFile) and image.tag_v2.get(PHOTOMETRIC) == WHITE_IS_ZERO


def has_unnamed_band(image: Image.Image) -> bool:
    """Return whether a fourth band beside RGB has no tag that makes it transparency, which Pillow assumes."""
    return isinstance(image, TiffImageFile) and image.mode == "RGBA" and EXTRA_SAMPLES not in image.tag_v2


def no_data(image: Image.Image) -> float:
    """Return the value that marks missing data; NaN, which equals no value, if there is none."""
    if isinstance(image, TiffImageFile):
        with contextlib.suppress(ValueError):
            return float(str(image.tag_v2.get(NO_DATA)).strip("\0 "))
    return math.nan


def use_libtiff_for_planes(image: Image.Image) -> None:
    """Make Pillow decode separately stored 16-bit bands with libtiff, because its own decoder reads them as 8 bits."""
    if not isinstance(image, TiffImageFile) or image.use_load_libtiff:
        return
    tags = image.tag_v2
    if tags.get(PLANES) == SEPARATE and 16 in tags.get(BITS, ()) and image.mode in ("RGB", "RGBA"):
        extents = (0, 0, tags[WIDTH], tags[LENGTH])
        arguments = (f"{image.mode};16N", False, tags.offset)
        image.tile = [image.tile[0]._replace(codec_name="libtiff", extents=extents, offset=0, args=arguments)]
        image.use_load_libtiff = True
