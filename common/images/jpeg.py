"""Detects a JPEG that contains all of its pixels and lacks only the end marker."""

from __future__ import annotations

import io
import random
import re
import zlib

from PIL import Image, JpegImagePlugin

#: The marker that ends a JPEG (EOI), and the one that begins a scan (SOS).
END_OF_IMAGE, START_OF_SCAN = b"\xff\xd9", b"\xff\xda"
#: Any marker except the restart markers, which are part of a scan's data (ITU-T T.81, table B.1).
MARKER = re.compile(rb"\xff[\xc0-\xcf\xd8-\xfe]")
#: Bit mask of the 64 coefficients of a block.
ALL_COEFFICIENTS = 2**64 - 1
#: Data that is appended to a file without end marker: none, and random data with all restart markers. A truncated scan
#: decodes differently with the two.
CONTINUATIONS = (
    b"",
    b"".join(random.Random(n).randbytes(64).replace(b"\xff", b"") + bytes([0xFF, 0xD0 + n]) for n in range(8)),
)
#: Largest number of pixels that are compared. Larger images are decoded at a half, a quarter or an eighth of the size.
MAX_COMPARED_PIXELS = 4_000_000


def lacks_only_end(image: JpegImagePlugin.JpegImageFile, data: bytes) -> bool:
    """Return whether `data` lacks the end marker, but no pixel. `image` was just opened from `data`.

    libjpeg fills in missing data without an error. Therefore the image is decoded with two different continuations:
    if the results differ, a part of the image is missing.
    """
    assert image.fp
    start = image.fp.tell()  # Pillow has read up to the data of the first scan
    if data.find(END_OF_IMAGE, start) >= 0 or not _has_every_scan(image, data, start):
        return False
    data = data.rstrip(b"\xff")  # half of the end marker, or half of an escaped byte 0xFF
    return len({_checksum(data + continuation + END_OF_IMAGE) for continuation in CONTINUATIONS}) == 1


def _has_every_scan(image: JpegImagePlugin.JpegImageFile, data: bytes, start: int) -> bool:
    """Return whether the scans contain all coefficients of all components in full precision.

    A progressive JPEG that is truncated between two scans would be decoded to a coarser image.
    """
    complete = {component: 0 for component, *_ in image.layer}
    position = data.rfind(START_OF_SCAN, 0, start)
    while position >= 0:
        length = int.from_bytes(data[position + 2 : position + 4])
        end = position + 2 + length
        if length < 2 or end > len(data):
            return False
        if data[position : position + 2] == START_OF_SCAN:
            count, *header = data[position + 4 : end]
            components, (first, last, precision) = header[: 2 * count : 2], header[2 * count :]
            if precision & 0x0F == 0:  # full precision: no later scan refines these coefficients
                for component in components:
                    complete[component] |= (2 << last) - (1 << first)
        next_marker = MARKER.search(data, end)
        position = next_marker.start() if next_marker else -1
    return all(bits == ALL_COEFFICIENTS for bits in complete.values())


def _checksum(data: bytes) -> int:
    """Return a checksum of the pixels."""
    with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
        width, height = image.size
        scale = next((scale for scale in (1, 2, 4) if width * height <= MAX_COMPARED_PIXELS * scale**2), 8)
        image.draft(None, (max(width // scale, 1), max(height // scale, 1)))
        return zlib.crc32(image.tobytes())
