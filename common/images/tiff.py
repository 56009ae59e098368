"""What the tags of a TIFF say about its pixels and Pillow ignores; the functions take pictures of any format."""

from __future__ import annotations

import contextlib
import math

from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

# The tags' numbers (TIFF 6.0, section 8), and GDAL's for a value that means "not measured".
WIDTH, LENGTH, BITS, PHOTOMETRIC, PLANES, EXTRA_SAMPLES, NO_DATA = 256, 257, 258, 262, 284, 338, 42113
WHITE_IS_ZERO, SEPARATE = 0, 2


def white_is_zero(image: Image.Image) -> bool:
    """Whether the smallest value is white. Pillow inverts such pictures itself, but only those of at most 8 bits."""
    return isinstance(image, TiffImageFile) and image.tag_v2.get(PHOTOMETRIC) == WHITE_IS_ZERO


def has_unnamed_band(image: Image.Image) -> bool:
    """Whether there is a fourth band beside RGB of which nothing says that it is transparency, as Pillow supposes."""
    return isinstance(image, TiffImageFile) and image.mode == "RGBA" and EXTRA_SAMPLES not in image.tag_v2


def no_data(image: Image.Image) -> float:
    """The value that marks pixels without a measurement; NaN, which equals nothing, if there is none."""
    if isinstance(image, TiffImageFile):
        with contextlib.suppress(ValueError):
            return float(str(image.tag_v2.get(NO_DATA)).strip("\0 "))
    return math.nan


def mend_planes(image: Image.Image) -> None:
    """Have libtiff read 16-bit bands that are stored one after the other; Pillow's own reader takes them for 8 bits."""
    if not isinstance(image, TiffImageFile) or image.use_load_libtiff:
        return
    tags = image.tag_v2
    if tags.get(PLANES) == SEPARATE and 16 in tags.get(BITS, ()) and image.mode in ("RGB", "RGBA"):
        place = (0, 0, tags[WIDTH], tags[LENGTH])
        arguments = (f"{image.mode};16N", False, tags.offset)
        image.tile = [image.tile[0]._replace(codec_name="libtiff", extents=place, offset=0, args=arguments)]
        image.use_load_libtiff = True
