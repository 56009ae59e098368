"""Bytes to a validated RGB picture, or a typed refusal; the only place where Pillow opens an upload.

Pillow is the judge of what a file is, not its name and not the client's MIME type.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

from PIL import Image, UnidentifiedImageError

from common import problems
from common.problems import Problem

#: The formats that are accepted, by Pillow's names. Vector formats and those whose decoder starts another
#: program (EPS) are left out on purpose.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
FORMATS_IN_WORDS = "JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF"

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


def decode(data: bytes, max_pixels: int, enough: int | None = None) -> Image.Image:
    """The picture as RGB, upright, first frame, transparency on white; raises as `check` does.

    A JPEG whose sides are many times `enough` is decoded at a half, a quarter or an eighth, at which none of them is
    below twice `enough`: a fraction of the time and memory, and next to nothing lost when it is reduced to `enough`.
    """
    with _opened(data, max_pixels) as image:
        if enough is not None:
            image.draft(None, (2 * enough, 2 * enough))
        image.load()
        turned = _UPRIGHT.get(_orientation(image))
        flat = _flatten(image)
        return flat.transpose(turned) if turned is not None else flat


def thumbnail(data: bytes, max_pixels: int, side: int) -> Image.Image:
    """As `decode`, reduced to fit `side` x `side` pixels; a JPEG is decoded at a part of its size."""
    with _opened(data, max_pixels) as image:
        image.draft("RGB", (side, side))
        image.load()
        turned = _UPRIGHT.get(_orientation(image))
        image.thumbnail((side, side), Image.Resampling.BICUBIC)
        flat = _flatten(image)
        return flat.transpose(turned) if turned is not None else flat


@contextmanager
def _opened(data: bytes, max_pixels: int) -> Iterator[Image.Image]:
    if not data:
        raise problems.EMPTY_UPLOAD("The file has no content. Choose the picture again and send it once more.")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > max_pixels:
                raise _too_large(f"{image.width} x {image.height} pixels are", max_pixels)
            yield image
    except (Problem, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _too_large("Its size in pixels is", max_pixels) from None
    except UnidentifiedImageError:
        raise problems.UNSUPPORTED_IMAGE(
            f"The file is not a picture in a format that can be read here. Send a {FORMATS_IN_WORDS} file."
        ) from None
    except Exception as error:  # Pillow's decoders raise whatever their parser stumbled over
        raise problems.DAMAGED_IMAGE(
            "The picture cannot be read to its end: the file is cut off or damaged. Send a fresh copy of it."
        ) from error


def _too_large(subject: str, max_pixels: int) -> Problem:
    return problems.IMAGE_TOO_LARGE(
        f"{subject} more than the {max_pixels // 1_000_000} megapixels that are accepted here. "
        "Make the picture smaller and send it again."
    )


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 (upright) when the metadata cannot be read: a caption needs none."""
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # broken EXIF raises anything from KeyError to struct.error
        return 1


def _flatten(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        return _stretch(image, 0.0, 65535.0)
    if image.mode in ("I", "F"):  # no fixed range: take the one that is used
        low, high = cast("tuple[float, float]", image.getextrema())
        return _stretch(image, low, high)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _stretch(image: Image.Image, low: float, high: float) -> Image.Image:
    """Grey levels from `low` to `high` as 8 bits."""
    scale = 255.0 / (high - low) if high > low else 0.0
    return image.convert("F").point(lambda value: value * scale - low * scale).convert("L").convert("RGB")
