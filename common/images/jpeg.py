"""Whether a JPEG that stops before its end marker still holds all of its pixels, and only the marker is missing."""

from __future__ import annotations

import io
import random
import re
import zlib

from PIL import Image, JpegImagePlugin

#: The marker that ends a JPEG (EOI), and the one that begins a scan (SOS).
END, SCAN = b"\xff\xd9", b"\xff\xda"
#: Any marker but the restart markers, which are part of a scan's data (ITU-T T.81, table B.1).
MARKER = re.compile(rb"\xff[\xc0-\xcf\xd8-\xfe]")
#: The 64 coefficients of a block, one bit each.
COEFFICIENTS = 2**64 - 1
#: What is appended to a file that stops early: nothing, or random data with all restart markers between. A scan that is
#: cut off anywhere decodes differently with the two.
CONTINUATIONS = (
    b"",
    b"".join(random.Random(n).randbytes(64).replace(b"\xff", b"") + bytes([0xFF, 0xD0 + n]) for n in range(8)),
)
#: Most pixels of the two results that are compared; larger pictures are decoded at a half, a quarter or an eighth.
COMPARED_PIXELS = 4_000_000


def lacks_only_end(image: JpegImagePlugin.JpegImageFile, data: bytes) -> bool:
    """Whether `data`, from which `image` was just opened, has no end marker although no pixel is missing.

    libjpeg fills up what is missing without an error. So the picture is decoded with two continuations: if they
    change it, a part of the picture was to come there.
    """
    assert image.fp
    start = image.fp.tell()  # Pillow has read up to the data of the first scan
    if data.find(END, start) >= 0 or not _has_every_scan(image, data, start):
        return False
    data = data.rstrip(b"\xff")  # half of the end marker, or half of an escaped byte 0xFF
    return len({_checksum(data + continuation + END) for continuation in CONTINUATIONS}) == 1


def _has_every_scan(image: JpegImagePlugin.JpegImageFile, data: bytes, start: int) -> bool:
    """Whether the scans carry all coefficients of all components in full precision.

    A progressive JPEG that is cut off between two scans would be decoded to a coarser picture.
    """
    carried = {component: 0 for component, *_ in image.layer}
    place = data.rfind(SCAN, 0, start)
    while place >= 0:
        length = int.from_bytes(data[place + 2 : place + 4])
        end = place + 2 + length
        if length < 2 or end > len(data):
            return False
        if data[place : place + 2] == SCAN:
            count, *header = data[place + 4 : end]
            components, (first, last, precision) = header[: 2 * count : 2], header[2 * count :]
            if precision & 0x0F == 0:  # no bit is left for a later scan
                for component in components:
                    carried[component] |= (2 << last) - (1 << first)
        following = MARKER.search(data, end)
        place = following.start() if following else -1
    return all(bits == COEFFICIENTS for bits in carried.values())


def _checksum(data: bytes) -> int:
    """A checksum of the picture's pixels."""
    with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
        width, height = image.size
        part = next((part for part in (1, 2, 4) if width * height <= COMPARED_PIXELS * part**2), 8)
        image.draft(None, (max(width // part, 1), max(height // part, 1)))
        return zlib.crc32(image.tobytes())
