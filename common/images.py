"""Bytes to a validated RGB picture, or a typed refusal; the only place where Pillow opens an upload.

Pillow is the judge of what a file is, not its name and not the client's MIME type. The service calls this through
`common.sandbox`, in a process that may not take more memory and time than a picture needs.
"""

from __future__ import annotations

import io
import operator
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from PIL import Image, JpegImagePlugin, UnidentifiedImageError

from common import problems, webp
from common.problems import Problem
from common.strips import to_rgb

#: The formats that are accepted, by Pillow's names. Vector formats and those whose decoder starts another
#: program (EPS) are left out on purpose.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
FORMATS_IN_WORDS = "JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF"

#: Bytes of memory that the pixels of one picture may take while they are decoded.
MEMORY = 220_000_000
#: Bytes for each pixel that decoding takes at its peak, where that is more than the 4 of Pillow's own copy; measured.
BYTES_PER_PIXEL: dict[str, float] = {"WEBP": 17, "AVIF": 17}
#: What Pillow's decoders say when they can have no more memory, where that is no MemoryError.
NO_MEMORY = ("memory", "decoder error -9")
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

# Pillow only warns of a decompression bomb; nobody reads a server's warnings.
warnings.simplefilter("error", Image.DecompressionBombWarning)


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
        width, height = image.size
        upright = (height, width) if _orientation(image) >= 5 else (width, height)
        image.draft("RGB", (1, 1))
        image.load()
        return Facts("JPEG" if image.format == "MPO" else str(image.format), *upright)


def decode(data: bytes, max_pixels: int, enough: int | None = None, *, keep_aspect: bool = True) -> Image.Image:
    """The picture as RGB, upright, first frame, transparency on white; raises as `check` does.

    One whose sides are many times `enough` is made smaller on the way, never below twice `enough`: a fraction of the
    time and memory, and next to nothing lost when it is reduced to `enough`. A JPEG is not even decoded in full. Both
    sides are divided by the same number; without `keep_aspect`, each by the largest that its own length allows.
    """
    with _opened(data, max_pixels) as image:
        across = down = 1
        if enough is not None:
            image.draft(None, (2 * enough, 2 * enough))
            across, down = (max(side // (2 * enough), 1) for side in image.size)
            if keep_aspect:
                across = down = min(across, down)
        image.load()
        return _turned(to_rgb(image, across, down), _orientation(image))


def square(data: bytes, max_pixels: int, side: int) -> Image.Image:
    """As `decode`, squashed to `side` x `side` pixels as the model sees it."""
    return decode(data, max_pixels, side, keep_aspect=False).resize((side, side), Image.Resampling.BICUBIC)


def thumbnail(data: bytes, max_pixels: int, side: int) -> bytes:
    """The picture as a JPEG that fits `side` x `side` pixels, without metadata; raises as `check` does."""
    with _opened(data, max_pixels) as image:
        image.draft("RGB", (side, side))
        image.load()
        times = max(max(image.size) // side, 1)
        small = to_rgb(image, times, times)
        small.thumbnail((side, side), Image.Resampling.BICUBIC)
        buffer = io.BytesIO()
        _turned(small, _orientation(image)).save(buffer, "JPEG", quality=QUALITY)
        return buffer.getvalue()


@contextmanager
def _opened(data: bytes, max_pixels: int) -> Iterator[Image.Image]:
    if not data:
        raise problems.EMPTY_UPLOAD("The file has no content. Choose the picture again and send it once more.")
    if (claimed := webp.pixels(data)) > (allowed := min(max_pixels, int(MEMORY / BYTES_PER_PIXEL["WEBP"]))):
        raise _too_large(f"{claimed / 1e6:.3g} megapixels are", allowed)
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            allowed = min(max_pixels, int(MEMORY / _bytes_per_pixel(image, data)))
            if image.width * image.height > allowed:
                raise _too_large(f"{image.width} x {image.height} pixels are", allowed)
            yield image
    except Problem:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _too_large("Its size in pixels is", max_pixels) from None
    except UnidentifiedImageError:
        raise problems.UNSUPPORTED_IMAGE(
            f"The file is not a picture in a format that can be read here. Send a {FORMATS_IN_WORDS} file."
        ) from None
    except Exception as error:  # Pillow's decoders raise whatever their parser stumbled over
        if isinstance(error, MemoryError) or any(words in str(error) for words in NO_MEMORY):
            raise problems.IMAGE_TOO_COSTLY(
                "The picture takes more memory than is given to one here. Save it again as JPEG, and send that."
            ) from None
        raise problems.DAMAGED_IMAGE(
            "The picture cannot be read to its end: the file is cut off or damaged. Send a fresh copy of it."
        ) from error


def _too_large(subject: str, max_pixels: int) -> Problem:
    return problems.IMAGE_TOO_LARGE(
        f"{subject} more than the {max_pixels / 1e6:.3g} megapixels that are accepted here for this kind of file. "
        "Make the picture smaller, or save it as JPEG, and send it again."
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


def _bytes_per_pixel(image: Image.Image, data: bytes) -> float:
    """Bytes of memory that decoding takes at its peak, for each pixel.

    A JPEG of several scans keeps all its coefficients, at two bytes, until the last one is read; others are decoded
    row by row, at a part of their size.
    """
    if isinstance(image, JpegImagePlugin.JpegImageFile) and image.fp:
        end, length = image.fp.tell(), 6 + 2 * image.layers
        one_scan = data[end - length - 2 : end].startswith(b"\xff\xda" + struct.pack(">HB", length, image.layers))
        if "progressive" in image.info or not one_scan:
            _, across, down, _ = zip(*image.layer, strict=True)
            samples = sum(map(operator.mul, across, down))
            return float(2 * samples / (max(across) * max(down)))
        return 1
    return BYTES_PER_PIXEL.get(str(image.format), 4)
