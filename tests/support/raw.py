"""Camera RAW files: DNGs with a preview, and the first bytes of makers' own formats."""

from __future__ import annotations

import struct

from tests.support.images import encoded

#: Values of PhotometricInterpretation and Compression (TIFF 6.0, section 8; DNG 1.7).
COLOUR_FILTER_ARRAY, YCBCR, RGB, UNCOMPRESSED, JPEG = 32803, 6, 2, 1, 7
#: Side of the sensor's image in pixels.
SENSOR = 64

Tag = tuple[int, str, list[int]]
_TYPES = {"byte": (1, "B"), "ascii": (2, "B"), "short": (3, "H"), "long": (4, "I"), "srational": (10, "i")}


def dng(
    preview: bytes | None = None,
    *,
    preview_size: tuple[int, int] = (320, 240),
    orientation: int = 1,
    compression: int = JPEG,
    padding: int = 0,
) -> bytes:
    """A little-endian DNG: a sensor's image of 64 x 64 pixels, and `preview` in the first directory.

    `orientation` is the camera's, as in EXIF. Without `preview`, the first directory has the sensor's image and the
    file no preview. A preview that is not compressed is RGB with 8 bits. `padding` bytes follow the file.
    """
    sensor = struct.pack("<H", 1000) * SENSOR**2
    camera: list[Tag] = [
        (271, "ascii", list(b"Maker\0")),
        (272, "ascii", list(b"Camera\0")),
        (274, "short", [orientation]),
        (50706, "byte", [1, 4, 0, 0]),
        (50708, "ascii", list(b"Maker Camera\0")),
        (50721, "srational", [1, 1, 0, 1, 0, 1, 0, 1, 1, 1, 0, 1, 0, 1, 0, 1, 1, 1]),
    ]
    pixels: list[Tag] = [
        (258, "short", [16]),
        (277, "short", [1]),
        (33421, "short", [2, 2]),
        (33422, "byte", [0, 1, 1, 2]),
    ]
    if preview is None:
        tags = camera + pixels + _strip(SENSOR, SENSOR, COLOUR_FILTER_ARRAY, UNCOMPRESSED, 0, len(sensor))
        start = len(_directory(tags, 8)) + 8
        tags = camera + pixels + _strip(SENSOR, SENSOR, COLOUR_FILTER_ARRAY, UNCOMPRESSED, start, len(sensor))
        return b"II*\0" + struct.pack("<I", 8) + _directory(tags, 8) + sensor + bytes(padding)

    photometric = YCBCR if compression == JPEG else RGB

    def directories(sensor_at: int, preview_at: int, second_at: int) -> tuple[bytes, bytes]:
        first = [
            *camera,
            (254, "long", [1]),
            (258, "short", [8, 8, 8]),
            (277, "short", [3]),
            (330, "long", [second_at]),
            *_strip(*preview_size, photometric, compression, preview_at, len(preview)),
        ]
        second = [
            *pixels,
            (254, "long", [0]),
            *_strip(SENSOR, SENSOR, COLOUR_FILTER_ARRAY, UNCOMPRESSED, sensor_at, len(sensor)),
        ]
        return _directory(first, 8), _directory(second, second_at)

    first, second = directories(0, 0, 0)
    second_at = 8 + len(first)
    sensor_at = second_at + len(second)
    first, second = directories(sensor_at, sensor_at + len(sensor), second_at)
    return b"II*\0" + struct.pack("<I", 8) + first + second + sensor + preview + bytes(padding)


def _strip(width: int, height: int, photometric: int, compression: int, start: int, size: int) -> list[Tag]:
    return [
        (256, "long", [width]),
        (257, "long", [height]),
        (259, "short", [compression]),
        (262, "short", [photometric]),
        (273, "long", [start]),
        (278, "long", [height]),
        (279, "long", [size]),
    ]


def _directory(tags: list[Tag], start: int) -> bytes:
    """A directory (IFD) that begins at `start` in the file, followed by the values that do not fit into it."""
    entries, values = b"", b""
    values_at = start + 2 + 12 * len(tags) + 4
    for number, kind, content in sorted(tags):
        code, letter = _TYPES[kind]
        data = struct.pack(f"<{len(content)}{letter}", *content)
        count = len(content) // (2 if kind == "srational" else 1)
        if len(data) > 4:
            data, values = struct.pack("<I", values_at + len(values)), values + data + bytes(len(data) % 2)
        entries += struct.pack("<HHI", number, code, count) + data.ljust(4, b"\0")
    return struct.pack("<H", len(tags)) + entries + bytes(4) + values


#: A DNG whose preview is a drawing of 320 x 240 pixels.
DNG = dng(encoded())
#: The first bytes of files by which makers' own formats are known.
SIGNATURES = {
    "CR2": b"II*\0\x10\0\0\0CR\x02\0" + bytes(100),
    "CR3": b"\0\0\0\x18ftypcrx \0\0\0\x01crx isom" + bytes(100),
    "ORF": b"IIRO\x08\0\0\0" + bytes(100),
    "RAF": b"FUJIFILMCCD-RAW 0201" + bytes(100),
    "RW2": b"IIU\0\x18\0\0\0" + bytes(100),
}
