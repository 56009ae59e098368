"""Reads a WebP's size from its header, because the decoder allocates 8 bytes per pixel as soon as it opens the file."""

from __future__ import annotations

import struct


def size(data: bytes) -> tuple[int, int] | None:
    """Return width and height in pixels (RFC 9649 §2.5 to §2.7); None if `data` is not a WebP."""
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP" or len(data) < 30:
        return None
    if data[12:16] == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if data[12:16] == b"VP8L":
        (bits,) = struct.unpack("<I", data[21:25])
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack("<HH", data[26:30])
    return width & 0x3FFF, height & 0x3FFF
