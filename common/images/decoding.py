"""Bytes to a validated RGB picture, or a typed refusal; the only place where Pillow opens an upload.

Pillow is the judge of what a file is, not its name and not the client's MIME type. The service calls this through
`common.images.sandbox`, in a process that may not take more memory and time than a picture needs.
"""

from __future__ import annotations

import io
import operator
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from PIL import Image, ImageFile, JpegImagePlugin, UnidentifiedImageError

from common import problems
from common.images import jpeg, tiff, webp
from common.images.levels import is_deep, levels
from common.images.strips import is_empty, to_rgb
from common.problems import Problem

#: The formats that are accepted, by Pillow's names. Vector formats and those whose decoder starts another
#: program (EPS) are left out on purpose.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
FORMATS_IN_WORDS = "JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF"

#: Bytes of memory that the pixels of one picture may take while they are decoded.
MEMORY = 220_000_000
#: Bytes for each pixel that decoding takes at its peak, where that is more than Pillow's own copy; measured.
BYTES_PER_PIXEL: dict[str, float] = {"WEBP": 17, "AVIF": 17}
#: Bytes for each pixel of Pillow's own copy, by mode, where that is less than 4.
COPY: dict[str, float] = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2}
#: Side in pixels of the largest thumbnail: a JPEG whose shorter side is less than twice as long is decoded in full.
LARGEST_THUMBNAIL = 2048
#: What Pillow's decoders say when they can have no more memory, where that is no MemoryError.
NO_MEMORY = ("memory", "decoder error -9")
#: The formats of animations, and how many of their first frames are looked at for one that is not empty.
ANIMATIONS, FRAMES = ("GIF", "WEBP", "PNG", "AVIF"), 32
#: JPEG's quality of a thumbnail.
QUALITY = 85

#: EXIF tag 0x0112: how the camera was held; values of 5 and more swap width and height.
ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# `max_pixels` is the only limit: Pillow's own, of 89 megapixels, can be no higher for one caller than for another.
Image.MAX_IMAGE_PIXELS = None


@dataclass(frozen=True)
class Facts:
    """What an upload is: Pillow's name of its format, and its size in pixels as seen upright."""

    format: str
    width: int
    height: int


def check(data: bytes, max_pixels: int) -> Facts:
    """Decode the whole picture, keep only the facts.

    Raises `empty-upload`, `unsupported-image`, `image-too-large` (before anything is decoded) or
    `damaged-image` (for truncated files too). A JPEG is decoded at an eighth of its size: damage shows all the
    same, for a 64th of the memory.
    """
    with _opened(data, max_pixels) as image:
        whole = image.size
        drafted = image.draft("RGB", (1, 1))
        _load(image, max_pixels)
        width, height = whole if drafted else image.size  # Pillow turns a TIFF upright while it loads it
        if _orientation(image) >= 5:
            width, height = height, width
        if is_deep(image):
            levels(image)
        return Facts("JPEG" if image.format == "MPO" else str(image.format), width, height)


def decode(data: bytes, max_pixels: int, enough: int | None = None, *, keep_aspect: bool = True) -> Image.Image:
    """The picture as RGB, upright, transparency on white; raises as `check` does.

    Of an animation it is the first frame that is not empty. One whose sides are many times `enough` is made smaller on
    the way, never below twice `enough`: a fraction of the time and memory, and next to nothing lost when it is reduced
    to `enough`. A JPEG is not even decoded in full. Both sides are divided by the same number; without `keep_aspect`,
    each by the largest that its own length allows.
    """
    with _opened(data, max_pixels) as image:
        if enough is not None:
            image.draft(None, (2 * enough, 2 * enough))
        high_bytes = _load(image, max_pixels)
        across = down = 1
        if enough is not None:
            across, down = (max(side // (2 * enough), 1) for side in image.size)
            if keep_aspect:
                across = down = min(across, down)
        return _turned(to_rgb(image, across, down, high_bytes), _orientation(image))


def square(data: bytes, max_pixels: int, side: int) -> Image.Image:
    """As `decode`, squashed to `side` x `side` pixels as the model sees it."""
    return decode(data, max_pixels, side, keep_aspect=False).resize((side, side), Image.Resampling.BICUBIC)


def thumbnail(data: bytes, max_pixels: int, side: int) -> bytes:
    """The picture as a JPEG that fits `side` x `side` pixels, without metadata; raises as `check` does."""
    with _opened(data, max_pixels) as image:
        image.draft("RGB", (side, side))
        high_bytes = _load(image, max_pixels)
        times = max(max(image.size) // side, 1)
        small = to_rgb(image, times, times, high_bytes)
        small.thumbnail((side, side), Image.Resampling.BICUBIC)
        buffer = io.BytesIO()
        _turned(small, _orientation(image)).save(buffer, "JPEG", quality=QUALITY)
        return buffer.getvalue()


def advice(data: bytes) -> str:
    """What to do with a picture that is too dear to decode."""
    if data.startswith(b"\xff\xd8"):
        return "Make the picture smaller, and send it again."
    return "Make the picture smaller, or save it as JPEG, and send it again."


@contextmanager
def _opened(data: bytes, max_pixels: int) -> Iterator[ImageFile.ImageFile]:
    if not data:
        raise problems.EMPTY_UPLOAD("The file has no content. Choose the picture again and send it once more.")
    if size := webp.size(data):
        _refuse_too_large(*size, BYTES_PER_PIXEL["WEBP"], max_pixels, "save it as JPEG")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if isinstance(image, JpegImagePlugin.JpegImageFile):
                one_scan = _is_of_one_scan(image, data)
                plainer = None if one_scan else "save it as a baseline (not progressive) JPEG"
                _refuse_too_large(*image.size, _jpeg_bytes_per_pixel(image, one_scan), max_pixels, plainer)
                if jpeg.lacks_only_end(image, data):
                    image = Image.open(io.BytesIO(data + jpeg.END), formats=FORMATS)
            else:
                _refuse_too_large(*image.size, _bytes_per_pixel(image), max_pixels, "save it as JPEG")
            yield image
    except Problem:
        raise
    except UnidentifiedImageError:
        raise problems.UNSUPPORTED_IMAGE(
            f"The file is not a picture in a format that can be read here. Send a {FORMATS_IN_WORDS} file."
        ) from None
    except Exception as error:  # Pillow's decoders raise whatever their parser stumbled over
        if isinstance(error, MemoryError) or any(words in str(error) for words in NO_MEMORY):
            raise problems.IMAGE_TOO_COSTLY(
                f"The picture takes more memory than is given to one here. {advice(data)}"
            ) from None
        raise problems.DAMAGED_IMAGE(
            "The picture cannot be read to its end: the file is cut off or damaged. Send a fresh copy of it."
        ) from error


def _load(image: ImageFile.ImageFile, max_pixels: int) -> bool:
    """Decode the picture: of an animation, the first frame that is not fully transparent, if there is one.

    Returns whether Pillow kept only the upper bytes of 16 bits in each band.
    """
    tiff.mend_planes(image)
    raw_mode = str(image.tile[:1])
    image.load()
    for number in range(1, FRAMES):
        if image.format not in ANIMATIONS or not is_empty(image):
            break
        try:
            image.seek(number)
            _refuse_too_large(*image.size, _bytes_per_pixel(image), max_pixels, "save it as JPEG")
            image.load()
        except EOFError:
            break
    return image.mode in ("RGB", "RGBA") and ";16" in raw_mode


def _refuse_too_large(width: int, height: int, bytes_per_pixel: float, max_pixels: int, plainer: str | None) -> None:
    """Raise `image-too-large` for more than `max_pixels`, or more than MEMORY has room for.

    In the latter case, one can also do with it what `plainer` says.
    """
    pixels, room = width * height, int(MEMORY / bytes_per_pixel)
    if pixels <= min(max_pixels, room):
        return
    kind, instead = (" for this kind of file", f", or {plainer}") if room < max_pixels else ("", "")
    raise problems.IMAGE_TOO_LARGE(
        f"{width} x {height} pixels are more than the {min(max_pixels, room) / 1e6:.3g} megapixels that are accepted "
        f"here{kind}. Make the picture smaller{instead if plainer and pixels <= max_pixels else ''}, and send it again."
    )


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 (upright) when the metadata cannot be read: a caption needs none."""
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # broken EXIF raises anything from KeyError to struct.error
        return 1


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    turn = _UPRIGHT.get(orientation)
    return image.transpose(turn) if turn is not None else image


def _bytes_per_pixel(image: Image.Image) -> float:
    """Bytes of memory that decoding takes at its peak, for each pixel; not for JPEG."""
    return BYTES_PER_PIXEL.get(str(image.format), COPY.get(image.mode, 4))


def _jpeg_bytes_per_pixel(image: JpegImagePlugin.JpegImageFile, one_scan: bool) -> float:
    """Bytes of memory that decoding takes at its peak, for each pixel.

    A JPEG of several scans keeps all its coefficients, at two bytes, until the last one is read; others are decoded
    row by row, at a part of their size unless they are narrow.
    """
    if one_scan:
        return 4 if min(image.size) < 2 * LARGEST_THUMBNAIL else 1
    _, across, down, _ = zip(*image.layer, strict=True)
    samples = sum(map(operator.mul, across, down))
    return float(2 * samples / (max(across) * max(down)))


def _is_of_one_scan(image: JpegImagePlugin.JpegImageFile, data: bytes) -> bool:
    """Whether the first scan of a JPEG that was just opened has all components in full."""
    assert image.fp
    end, length = image.fp.tell(), 6 + 2 * image.layers
    first_has_all = data[end - length - 2 : end].startswith(b"\xff\xda" + struct.pack(">HB", length, image.layers))
    return first_has_all and "progressive" not in image.info
