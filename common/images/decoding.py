"""Decodes and validates uploads with Pillow. Only `common.images.raw` also opens uploads.

The format is what Pillow detects, not what the file name or the client's MIME type says. The service calls these
functions through `common.images.sandbox`, in a process with limits of memory and time.
"""

from __future__ import annotations

import io
import operator
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pi_heif
from PIL import Image, ImageFile, JpegImagePlugin, UnidentifiedImageError

from common import problems
from common.images import jpeg, tiff, webp
from common.images.formats import FORMAT_NAMES, FORMATS
from common.images.levels import is_deep, levels
from common.images.strips import is_empty, to_rgb
from common.problems import Problem
from common.translation import Message, _

#: Advice for an image that takes too much memory or time to decode.
SMALLER = _("Make the picture smaller, and send it again.")
SMALLER_OR_JPEG = _("Make the picture smaller, or save it as JPEG, and send it again.")
SMALLER_OR_BASELINE = _("Make the picture smaller, or save it as a baseline (not progressive) JPEG, and send it again.")

#: Memory limit in bytes for the pixels of one image while it is decoded.
PIXEL_MEMORY_LIMIT = 220_000_000
#: Peak memory of decoding in bytes per pixel, for formats that need more than Pillow's copy of the pixels. Measured.
FORMAT_BYTES_PER_PIXEL: dict[str, float] = {"WEBP": 17, "AVIF": 17, "HEIF": 8.9}
#: Size of Pillow's copy in bytes per pixel, by mode, where it is less than 4.
MODE_BYTES_PER_PIXEL: dict[str, float] = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2}
#: Side of the largest thumbnail in pixels. A JPEG with a shorter side below twice this is decoded in full.
MAX_THUMBNAIL = 2048
#: Parts of the errors that Pillow's decoders raise when memory runs out, other than MemoryError.
OUT_OF_MEMORY_MESSAGES = ("memory", "decoder error -9")
#: Formats that can be animations, and how many frames are searched for the first that is not empty.
ANIMATED_FORMATS, MAX_FRAMES = ("GIF", "WEBP", "PNG", "AVIF"), 32
#: JPEG quality of thumbnails.
THUMBNAIL_QUALITY = 85

#: EXIF tag of the orientation. Values of 5 and more swap width and height.
ORIENTATION = 0x0112
_TRANSPOSE_BY_ORIENTATION = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# The image itself is enough: no embedded thumbnails, depth maps or mattes.
pi_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=1)


# Pillow's limit of 89 megapixels is global, while `max_pixels` is an argument of each call.
Image.MAX_IMAGE_PIXELS = None


@dataclass(frozen=True)
class ImageInfo:
    """Format of an upload, by Pillow's name, and its size in pixels in upright orientation.

    A camera's RAW file has the format `RAW` and the size of its preview.
    """

    format: str
    width: int
    height: int


def check(data: bytes, max_pixels: int) -> ImageInfo:
    """Decode the whole image, and return its format and size.

    Raises `empty-upload`, `unsupported-image`, `image-too-large` (before anything is decoded) or `damaged-image`, also
    for truncated files. A JPEG is decoded at an eighth of its size, which still detects damage with a 64th of the
    memory.
    """
    with _opened(data, max_pixels) as image:
        full_size = image.size
        drafted = image.draft("RGB", (1, 1))
        _load(image, max_pixels)
        width, height = full_size if drafted else image.size  # Pillow applies a TIFF's orientation while loading
        if _orientation(image) >= 5:
            width, height = height, width
        if is_deep(image):
            levels(image)
        return ImageInfo("JPEG" if image.format == "MPO" else str(image.format), width, height)


def decode(data: bytes, max_pixels: int, min_side: int | None = None, *, keep_aspect: bool = True) -> Image.Image:
    """Decode an image to RGB, upright, with transparency on white. Raises the same problems as `check`.

    An animation gives its first frame that is not empty.

    With `min_side`, an image whose sides are many times larger is reduced while it is decoded, to no less than twice
    `min_side`. This saves time and memory, with hardly any loss if the caller then resizes to `min_side`. A JPEG is
    decoded at a reduced size. Both sides are divided by the same integer; without `keep_aspect`, each by the largest
    that is possible.
    """
    with _opened(data, max_pixels) as image:
        if min_side is not None:
            image.draft(None, (2 * min_side, 2 * min_side))
        high_bytes = _load(image, max_pixels)
        across = down = 1
        if min_side is not None:
            across, down = (max(side // (2 * min_side), 1) for side in image.size)
            if keep_aspect:
                across = down = min(across, down)
        return _to_upright(to_rgb(image, across, down, high_bytes), _orientation(image))


def preprocess(data: bytes, max_pixels: int, side: int) -> Image.Image:
    """Decode an image, and resize it to the model's `side` x `side` pixels, ignoring its aspect ratio."""
    return decode(data, max_pixels, side, keep_aspect=False).resize((side, side), Image.Resampling.BICUBIC)


def thumbnail(data: bytes, max_pixels: int, side: int) -> bytes:
    """Return a JPEG of at most `side` x `side` pixels without metadata. Raises the same problems as `check`."""
    with _opened(data, max_pixels) as image:
        image.draft("RGB", (side, side))
        high_bytes = _load(image, max_pixels)
        factor = max(max(image.size) // side, 1)
        small = to_rgb(image, factor, factor, high_bytes)
        small.thumbnail((side, side), Image.Resampling.BICUBIC)
        buffer = io.BytesIO()
        _to_upright(small, _orientation(image)).save(buffer, "JPEG", quality=THUMBNAIL_QUALITY)
        return buffer.getvalue()


def is_heif(data: bytes) -> bool:
    """Whether the data begin as a HEIF file does; AVIF and CR3 are the same container with other brands."""
    return data[4:8] == b"ftyp" and data[8:12] not in (b"avif", b"avis", b"crx ")


def advice(data: bytes) -> Message:
    """Return advice for an image that takes too much memory or time to decode."""
    return SMALLER if data.startswith(b"\xff\xd8") else SMALLER_OR_JPEG


@contextmanager
def _opened(data: bytes, max_pixels: int) -> Iterator[ImageFile.ImageFile]:
    if not data:
        raise problems.EMPTY_UPLOAD("The file has no content. Choose the picture again and send it once more.")
    if size := webp.size(data):
        _refuse_too_large(*size, FORMAT_BYTES_PER_PIXEL["WEBP"], max_pixels, SMALLER_OR_JPEG)
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if isinstance(image, JpegImagePlugin.JpegImageFile):
                one_scan = _has_one_scan(image, data)
                smaller = SMALLER if one_scan else SMALLER_OR_BASELINE
                _refuse_too_large(*image.size, _jpeg_bytes_per_pixel(image, one_scan), max_pixels, smaller)
                if jpeg.lacks_only_end(image, data):
                    image = Image.open(io.BytesIO(data + jpeg.END_OF_IMAGE), formats=FORMATS)
            else:
                _refuse_too_large(*image.size, _bytes_per_pixel(image), max_pixels, SMALLER_OR_JPEG)
            yield image
    except Problem:
        raise
    except UnidentifiedImageError:
        raise problems.UNSUPPORTED_IMAGE(
            "The file is not a picture in a supported format. Send a {formats} file.", formats=FORMAT_NAMES
        ) from None
    except Exception as error:  # Pillow's decoders raise many types of exceptions
        if isinstance(error, MemoryError) or any(words in str(error) for words in OUT_OF_MEMORY_MESSAGES):
            raise problems.IMAGE_TOO_COSTLY(
                "Decoding the picture takes more memory than is allowed. {advice}", advice=advice(data)
            ) from None
        raise problems.DAMAGED_IMAGE(
            "The picture cannot be read to its end: the file is truncated or damaged. Send an intact copy."
        ) from error


def _load(image: ImageFile.ImageFile, max_pixels: int) -> bool:
    """Decode the image. Of an animation, decode the first frame that is not fully transparent, if there is one.

    Returns whether Pillow kept only the upper 8 of 16 bits in each band.
    """
    tiff.use_libtiff_for_planes(image)
    raw_mode = str(image.tile[:1])
    image.load()
    for number in range(1, MAX_FRAMES):
        if image.format not in ANIMATED_FORMATS or not is_empty(image):
            break
        try:
            image.seek(number)
            _refuse_too_large(*image.size, _bytes_per_pixel(image), max_pixels, SMALLER_OR_JPEG)
            image.load()
        except EOFError:
            break
    return image.mode in ("RGB", "RGBA") and ";16" in raw_mode


def _refuse_too_large(width: int, height: int, bytes_per_pixel: float, max_pixels: int, advice: Message) -> None:
    """Raise `image-too-large` for more than `max_pixels`, or for more than fit into `PIXEL_MEMORY_LIMIT`.

    In the latter case the sentence ends with `advice`.
    """
    pixels, pixels_in_memory = width * height, int(PIXEL_MEMORY_LIMIT / bytes_per_pixel)
    limit = min(max_pixels, pixels_in_memory)
    if pixels <= limit:
        return
    values: dict[str, Any] = {
        "width": width,
        "height": height,
        "limit": float(f"{limit / 1e6:.3g}"),
        "advice": advice if pixels <= max_pixels else SMALLER,
    }
    if pixels_in_memory < max_pixels:
        raise problems.IMAGE_TOO_LARGE(
            "{width} x {height} pixels are more than the {limit} megapixels that are accepted for this kind of file. "
            "{advice}",
            **values,
        )
    raise problems.IMAGE_TOO_LARGE(
        "{width} x {height} pixels are more than the {limit} megapixels that are accepted. {advice}", **values
    )


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation; 1 (upright) if the metadata cannot be read, because a caption does not need it."""
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # broken EXIF raises anything from KeyError to struct.error
        return 1


def _to_upright(image: Image.Image, orientation: int) -> Image.Image:
    turn = _TRANSPOSE_BY_ORIENTATION.get(orientation)
    return image.transpose(turn) if turn is not None else image


def _bytes_per_pixel(image: Image.Image) -> float:
    """Return the peak memory of decoding in bytes per pixel, for formats other than JPEG."""
    return FORMAT_BYTES_PER_PIXEL.get(str(image.format), MODE_BYTES_PER_PIXEL.get(image.mode, 4))


def _jpeg_bytes_per_pixel(image: JpegImagePlugin.JpegImageFile, one_scan: bool) -> float:
    """Return the peak memory of decoding a JPEG in bytes per pixel.

    A JPEG of several scans keeps all its coefficients, of two bytes each, until the last scan is read. Others are
    decoded row by row, at a reduced size unless they are narrow.
    """
    if one_scan:
        return 4 if min(image.size) < 2 * MAX_THUMBNAIL else 1
    _, horizontal, vertical, _ = zip(*image.layer, strict=True)  # sampling factors of the components
    samples = sum(map(operator.mul, horizontal, vertical))
    return float(2 * samples / (max(horizontal) * max(vertical)))


def _has_one_scan(image: JpegImagePlugin.JpegImageFile, data: bytes) -> bool:
    """Return whether the first scan of a JPEG that was just opened has all components completely."""
    assert image.fp
    end, length = image.fp.tell(), 6 + 2 * image.layers
    has_all_components = data[end - length - 2 : end].startswith(b"\xff\xda" + struct.pack(">HB", length, image.layers))
    return has_all_components and "progressive" not in image.info
