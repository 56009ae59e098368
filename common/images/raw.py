"""Detects camera RAW files, and reads the preview that the camera embedded in them.

Only the preview is decoded, never the sensor's data. It needs rawpy (extra `raw`).
"""

from __future__ import annotations

import importlib.util
import io
import struct
from functools import cache

from common import problems
from common.problems import Problem

#: The name of all RAW formats.
FORMAT = "RAW"
#: Suffixes of the RAW formats that `is_raw` detects.
SUFFIXES = frozenset(
    {".3fr", ".arw", ".cr2", ".cr3", ".dng", ".erf", ".nef", ".nrw", ".orf", ".pef", ".raf", ".rw2", ".rwl"}
    | {".sr2", ".srw"}
)
#: First bytes of formats that are not TIFF, or TIFF with another number.
SIGNATURES = (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0")
#: Numbers of tags (TIFF 6.0, section 8; TIFF Technical Note 1; DNG 1.7).
PHOTOMETRIC, SUB_IFDS, DNG_VERSION = 262, 330, 50706
#: Values of PhotometricInterpretation that only a sensor's data have: colour filter array, linear RAW.
SENSOR_DATA = (32803, 34892)
#: Limits of the search: directories of a file, and entries of a directory.
MAX_DIRECTORIES, MAX_ENTRIES = 16, 512
#: Bytes that LibRaw reads after the end of a file (THUMB_READ_BEYOND).
MAX_READ_BEYOND = 16384
#: Marker of the JPEG segment with EXIF (APP1).
EXIF_MARKER = b"\xff\xe1"


@cache
def is_installed() -> bool:
    """Whether rawpy is installed. It is not imported, because it loads numpy."""
    return importlib.util.find_spec("rawpy") is not None


def is_raw(data: bytes) -> bool:
    """Whether the file is a camera's RAW file. Of a TIFF, the tags decide."""
    if data.startswith(SIGNATURES) or data[4:12] == b"ftypcrx ":
        return True
    if data[:4] not in (b"II*\0", b"MM\0*"):
        return False
    return data[8:10] == b"CR" or _has_sensor_data(data)


def preview(data: bytes) -> bytes:
    """Return the largest preview of a RAW file, a JPEG whose EXIF orientation makes it upright.

    Raises `unsupported-image` for a file without such a preview, and `damaged-image`.
    """
    import rawpy

    try:
        with rawpy.imread(io.BytesIO(data)) as raw:
            thumbnail = raw.extract_thumb()
    except (
        rawpy.LibRawFileUnsupportedError,
        rawpy.LibRawNoThumbnailError,
        rawpy.LibRawUnsupportedThumbnailError,
        rawpy.NotSupportedError,
    ):
        raise _without_preview() from None
    except rawpy.LibRawError as error:
        raise _damaged() from error
    if not isinstance(thumbnail.data, bytes):  # pixels without compression, often only 160 x 120
        raise _without_preview()
    if not _contains(data, thumbnail.data):
        raise _damaged()
    # LibRaw has added the camera's orientation, unless the preview begins with EXIF of its own.
    return thumbnail.data


def _without_preview() -> Problem:
    return problems.UNSUPPORTED_IMAGE(
        "The RAW file has no JPEG preview that can be read: the camera stored none, or the file is truncated. Save the "
        "picture as JPEG, and send that."
    )


def _damaged() -> Problem:
    return problems.DAMAGED_IMAGE("The RAW file cannot be read: it is truncated or damaged. Send an intact copy.")


def _contains(data: bytes, jpeg: bytes) -> bool:
    """Whether the end of a preview is in the file.

    LibRaw accepts a preview that ends up to 16 kB after the end of the file, and does not set these bytes, so that
    they can be those of another file.
    """
    after_exif = 4 + int.from_bytes(jpeg[4:6]) if jpeg[2:4] == EXIF_MARKER else 2
    return jpeg[max(after_exif, len(jpeg) - MAX_READ_BEYOND) :] in data


def _has_sensor_data(data: bytes) -> bool:
    """Whether a directory of a TIFF describes a sensor's data, or says that the file is a DNG."""
    order = "<" if data[:2] == b"II" else ">"
    waiting, seen = [struct.unpack(f"{order}I", data[4:8])[0]] if len(data) >= 8 else [], set[int]()
    while waiting and len(seen) < MAX_DIRECTORIES:
        start = waiting.pop(0)
        if start in seen or start + 2 > len(data):
            continue
        seen.add(start)
        count = min(struct.unpack_from(f"{order}H", data, start)[0], MAX_ENTRIES)
        for at in range(start + 2, min(start + 2 + 12 * count, len(data) - 11), 12):
            tag, kind, values, value = struct.unpack_from(f"{order}HHII", data, at)
            if tag == DNG_VERSION:
                return True
            if tag == PHOTOMETRIC and struct.unpack_from(f"{order}H", data, at + 8)[0] in SENSOR_DATA:
                return True
            if tag == SUB_IFDS and kind in (4, 13):
                place = at + 8 if values == 1 else value
                values = min(values, MAX_DIRECTORIES)
                if place + 4 * values <= len(data):
                    waiting += struct.unpack_from(f"{order}{values}I", data, place)
        if start + 6 + 12 * count <= len(data):
            waiting += struct.unpack_from(f"{order}I", data, start + 2 + 12 * count)
    return False
