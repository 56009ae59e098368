"""Malicious and unusual image files, each with the problems that are allowed in response."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image

from tests.support import heic, raw
from tests.support.images import drawing, encoded

#: Bytes of payload in the largest accepted file; 64 kB are left for headers.
MAX_PAYLOAD = 20 * 2**20 - 2**16
#: Side in pixels of the largest square with at most 50 megapixels.
SIDE = 7071

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
ACCEPTED = ""
COSTLY, LARGE = "image-too-costly", "image-too-large"
UNREADABLE = ("damaged-image", "unsupported-image")


@dataclass(frozen=True)
class Item:
    """A file and the slugs of the problems that are allowed in response; an empty slug is a 202."""

    name: str
    data: bytes
    allowed: tuple[str, ...]


def items() -> Iterator[Item]:
    """The whole corpus, one item at a time, because together they would take a gigabyte."""
    yield from unusual()
    yield from largest()
    yield from truncated()
    yield from false_headers()
    yield from floods()


def unusual() -> Iterator[Item]:
    """Unusual files, valid and invalid."""
    yield Item("no bytes", b"", ("empty-upload",))
    yield Item("100 MB of zeros", bytes(100 * 2**20), ("upload-too-large",))
    yield Item("SVG", b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", ("unsupported-image",))
    yield Item("a JPEG with a page after it", encoded() + b"<script>alert(1)</script>", (ACCEPTED,))
    yield Item("a page with a JPEG after it", b"<html><!--" + encoded(), ("unsupported-image",))
    for format in FORMATS:
        yield Item(f"1 x 1 {format}", encoded(Image.new("RGB", (1, 1)), format), (ACCEPTED,))
    yield Item("HEIC, rotated", heic.TURNED, (ACCEPTED,))
    for mode in ("1", "L", "LA", "P", "RGBA", "I;16"):
        yield Item(f"PNG in mode {mode}", encoded(Image.new(mode, (64, 64)), "PNG"), (ACCEPTED,))
    yield Item("CMYK JPEG", encoded(Image.new("CMYK", (64, 64))), (ACCEPTED,))
    yield Item("camera RAW", raw.DNG, (ACCEPTED,))
    yield Item("camera RAW without preview", raw.dng(), ("unsupported-image",))
    yield Item("float TIFF", encoded(Image.new("F", (64, 64)), "TIFF"), (ACCEPTED,))
    for format in ("GIF", "WEBP", "AVIF", "PNG", "TIFF"):
        frames = [drawing(colour) for colour in ("red", "green", "blue")]
        yield Item(f"animated {format}", saved(frames[0], format, save_all=True, append_images=frames[1:]), (ACCEPTED,))
    for format in ("GIF", "WEBP", "PNG"):
        frames = [Image.new("RGBA", (64, 48), colour) for colour in ((0, 0, 0, 0), "red")]
        data = saved(frames[0], format, save_all=True, append_images=frames[1:])
        yield Item(f"animated {format} that begins with an empty frame", data, (ACCEPTED,))
    yield Item("JPEG without its end marker", encoded()[:-2], (ACCEPTED,))
    yield Item("float TIFF of NaN", encoded(Image.new("F", (64, 64), float("nan")), "TIFF"), ("damaged-image",))
    yield Item("broken EXIF", saved(drawing(), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff broken"), (ACCEPTED,))


def largest() -> Iterator[Item]:
    """The largest images in every format, in the modes that need most memory."""
    side = (SIDE, SIDE)
    yield Item("50 MP JPEG", encoded(Image.new("RGB", side)), (ACCEPTED,))
    yield Item("RAW with a preview of 50 MP", raw.dng(encoded(Image.new("RGB", side)), padding=19 * 10**6), (ACCEPTED,))
    yield Item("50 MP progressive JPEG", saved(Image.new("RGB", side), "JPEG", progressive=True), (ACCEPTED,))
    for name, options in (("JPEG", {}), ("progressive JPEG", {"progressive": True})):
        data = saved(Image.new("RGB", side), "JPEG", **options)[:-2]
        yield Item(f"50 MP {name} without its end marker", data, (ACCEPTED, COSTLY))
    yield Item("50 MP progressive CMYK JPEG", saved(Image.new("CMYK", side), "JPEG", progressive=True), (LARGE,))
    yield Item("50 MP JPEG, 700 pixels wide", encoded(Image.new("RGB", (763, 65500))), (ACCEPTED,))
    yield Item("50 MP PNG, RGBA", saved(Image.new("RGBA", side), "PNG", compress_level=1), (ACCEPTED,))
    yield Item("50 MP PNG, 16 bits", saved(Image.new("I;16", side), "PNG", compress_level=1), (ACCEPTED,))
    empty, full = Image.new("LA", side), Image.new("LA", side, (0, 255))
    frames = saved(empty, "PNG", save_all=True, append_images=[full], compress_level=1)
    yield Item("50 MP PNG that begins with an empty frame", frames, (ACCEPTED, COSTLY))
    yield Item("50 MP GIF", encoded(Image.new("P", side), "GIF"), (ACCEPTED,))
    yield Item("50 MP BMP, 1 bit", encoded(Image.new("1", side), "BMP"), (ACCEPTED,))
    for mode in ("RGB", "RGBA", "F"):
        data = saved(Image.new(mode, side), "TIFF", compression="tiff_adobe_deflate")
        yield Item(f"50 MP TIFF, {mode}", data, (ACCEPTED, COSTLY))
    one_strip = saved(Image.new("RGB", side), "TIFF", compression="tiff_adobe_deflate", strip_size=2**30)
    yield Item("50 MP TIFF in one strip", one_strip, (COSTLY,))
    yield Item("24.5 MP HEIC", heic.MP24, (ACCEPTED,))
    yield Item("50 MP HEIC", heic.MP50, (LARGE,))
    for pixels, answer in ((12_600_000, ACCEPTED), (50_000_000, LARGE)):
        square = (int(pixels**0.5), int(pixels**0.5))
        lossless = saved(Image.new("RGBA", square, (9, 9, 9, 9)), "WEBP", lossless=True, method=0)
        yield Item(f"{pixels / 1e6:.3g} MP WebP, lossless", lossless, (answer,))
        yield Item(f"{pixels / 1e6:.3g} MP WebP", saved(Image.new("RGB", square), "WEBP", method=0), (answer,))
        yield Item(f"{pixels / 1e6:.3g} MP AVIF", saved(Image.new("RGB", square), "AVIF", speed=10), (answer,))


def truncated() -> Iterator[Item]:
    """Each format, truncated at every tenth of the file."""
    noise = Image.merge("RGB", [Image.effect_noise((160, 120), 80) for _ in range(3)])
    for format, data in [
        *((format, encoded(noise, format)) for format in FORMATS),
        ("HEIC", heic.RGB),
        ("DNG", raw.DNG),
    ]:
        for tenth in range(1, 10):
            yield Item(f"{tenth}/10 of a {format}", data[: len(data) * tenth // 10], UNREADABLE)


def false_headers() -> Iterator[Item]:
    """Headers that do not match the file's content."""
    yield Item("PNG that claims 900 MP", png(30_000, 30_000, zlib.compress(bytes(9000))), (LARGE,))
    yield Item("PNG whose 50 MP are not there", png(SIDE, SIDE, zlib.compress(bytes(9000))), ("damaged-image",))
    canvas = bytearray(encoded(format="GIF"))
    canvas[6:10] = struct.pack("<HH", 65_000, 65_000)
    yield Item("GIF with a canvas of 4,225 MP", bytes(canvas), (LARGE,))
    grown = bytearray(
        saved(Image.new("RGBA", (64, 64)), "GIF", save_all=True, append_images=[Image.new("RGB", (64, 64))])
    )
    second = grown.index(b"\x2c\0\0\0\0", grown.index(b"\x2c\0\0\0\0") + 10)
    grown[second + 5 : second + 9] = struct.pack("<HH", 65_000, 65_000)
    yield Item("GIF with an empty frame and one of 4,225 MP", bytes(grown), (COSTLY, LARGE))
    claims = raw.dng(bytes(1000), preview_size=(60_000, 60_000), compression=raw.UNCOMPRESSED)
    yield Item("RAW whose preview claims 3,600 MP", claims, (COSTLY, *UNREADABLE))
    yield Item("BMP that claims 50 MP", bmp(SIDE, SIDE, 24, b""), ("damaged-image",))
    hidden = saved(Image.new("RGB", (8000, 8000)), "AVIF", speed=10)
    offset = hidden.index(b"ispe") + 8
    hidden = hidden[:offset] + struct.pack(">II", 100, 100) + hidden[offset + 8 :]
    yield Item("AVIF that hides 64 MP behind 0.01", hidden, (ACCEPTED, COSTLY, "damaged-image"))
    size = struct.pack(">II", 8160, 6144)
    hidden = heic.MP50.replace(size, struct.pack(">II", 100, 100))
    assert hidden != heic.MP50
    yield Item("HEIC that hides 50 MP behind 0.01", hidden, (ACCEPTED, COSTLY, "damaged-image"))
    tile = zlib.compress(bytes(30_000 * 30_000 // 8))
    tags = [*GREY, (322, 4, 1, 30_000), (323, 4, 1, 30_000), (324, 4, 1, 1000), (325, 4, 1, len(tile))]
    yield Item("TIFF of 16 x 16 in a tile of 900 MP", tiff(tags).ljust(1000, b"\0") + tile, (COSTLY, "damaged-image"))
    strips = [*GREY, (273, 4, 2**31, 8), (278, 4, 1, 1), (279, 4, 2**31, 8)]
    yield Item("TIFF of 2,147,483,648 strips", tiff(strips), UNREADABLE)
    loop = [*GREY, (273, 4, 1, 1000), (278, 4, 1, 16), (279, 4, 1, 256)]
    yield Item(
        "TIFF whose directories form a cycle", tiff(loop, next_ifd=8).ljust(1256, b"\0"), (ACCEPTED, *UNREADABLE)
    )


def floods() -> Iterator[Item]:
    """Hundreds of thousands of small parts, and small files that decompress to large ones."""
    jpeg, gif, image = encoded(), encoded(format="GIF"), encoded(format="PNG")
    after_header, pixels = 33, gif.index(b"\x2c", 13 + 3 * (2 << (gif[10] & 7)))
    text = chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(200_000_000), 1))
    yield Item("PNG with 200 MB of text", image[:after_header] + text + image[after_header:], (ACCEPTED, *UNREADABLE))
    profile = chunk(b"iCCP", b"k\0\0" + zlib.compress(bytes(200_000_000), 1))
    yield Item(
        "PNG with a profile of 200 MB", image[:after_header] + profile + image[after_header:], (ACCEPTED, *UNREADABLE)
    )
    chunks = chunk(b"abCd", b"") * (MAX_PAYLOAD // 12)
    yield Item("PNG of 1.7 million chunks", image[:after_header] + chunks + image[after_header:], (COSTLY,))
    comments = b"\xff\xfe\0\x02" * (MAX_PAYLOAD // 4 - len(jpeg))
    yield Item("JPEG of 5 million comments", jpeg[:2] + comments + jpeg[2:], (COSTLY,))
    exif = exif_of(400, 15 * 2**20)
    yield Item("JPEG whose EXIF is 400 times 15 MB", jpeg[:2] + exif + jpeg[2:], (ACCEPTED, COSTLY))
    progressive = saved(Image.new("RGB", (SIDE, SIDE - 1)), "JPEG", progressive=True, quality=1)
    scan = progressive[progressive.rindex(b"\xff\xda") : -2]
    scans = scan * ((MAX_PAYLOAD - len(progressive)) // len(scan))
    yield Item("JPEG of 270,000 scans", progressive[:-2] + scans + progressive[-2:], (COSTLY,))
    extensions = b"\x21\xfe\x01a\0" * (MAX_PAYLOAD // 5 - len(gif))
    yield Item("GIF of 4 million comments", gif[:pixels] + extensions + gif[pixels:], (COSTLY,))
    comment = b"\x21\xfe" + (b"\xff" + b"a" * 255) * (MAX_PAYLOAD // 256 - 100) + b"\0"
    yield Item("GIF with a comment of 20 MB", gif[:pixels] + comment + gif[pixels:], (ACCEPTED, COSTLY))
    frames = gif[:-1] + gif[pixels:-1] * (MAX_PAYLOAD // len(gif)) + b"\x3b"
    yield Item("GIF of 20 MB in frames", frames, (ACCEPTED,))
    clear = saved(Image.new("RGBA", (320, 240)), "GIF")
    offset = clear.index(b"\x21\xf9")
    frames = clear[:-1] + clear[offset:-1] * (MAX_PAYLOAD // len(clear)) + b"\x3b"
    yield Item("GIF of 20 MB in empty frames", frames, (ACCEPTED,))
    runs = (b"\x01\x05" * 4000 + b"\0\0") * 2500
    yield Item("BMP in 10 million runs", bmp(4000, 2500, 8, runs), (COSTLY,))
    tags = [*GREY, *((40_000 + number, 1, 14 * 2**20, 8) for number in range(200))]
    yield Item("TIFF with 200 tags of 14 MB", tiff(tags).ljust(MAX_PAYLOAD, b"\0"), (ACCEPTED, COSTLY, *UNREADABLE))


#: The first tags of a deflated grey TIFF of 16 x 16 pixels: number, type, count, value.
GREY = [(256, 3, 1, 16), (257, 3, 1, 16), (258, 3, 1, 8), (259, 3, 1, 8), (262, 3, 1, 1), (277, 3, 1, 1)]


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    """The bytes of the image file, saved with Pillow's options."""
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    """A PNG chunk."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, pixels: bytes) -> bytes:
    """An RGB PNG with this size in its header and this compressed pixel data."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def bmp(width: int, height: int, bits: int, pixels: bytes) -> bytes:
    """A BMP; with 8 bits per pixel it is grey and run-length encoded."""
    palette = b"".join(bytes([level, level, level, 0]) for level in range(256)) if bits == 8 else b""
    start = 54 + len(palette)
    info = (40, width, height, 1, bits, 1 if bits == 8 else 0, len(pixels), 2835, 2835, len(palette) // 4, 0)
    return (
        b"BM"
        + struct.pack("<IHHI", start + len(pixels), 0, 0, start)
        + struct.pack("<IiiHHIIiiII", *info)
        + palette
        + pixels
    )


def tiff(tags: list[tuple[int, int, int, int]], next_ifd: int = 0) -> bytes:
    """A little-endian TIFF with one directory (IFD) and the offset of the next one."""
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + struct.pack("<I", next_ifd)


def exif_of(tags: int, size: int) -> bytes:
    """JPEG segments with `size` bytes of EXIF, all of which each tag claims as its value."""
    blob = tiff([(1000 + number, 1, size - 8, 8) for number in range(tags)]).ljust(size, b"x")
    parts = (b"Exif\0\0" + blob[start : start + 65_000] for start in range(0, size, 65_000))
    return b"".join(b"\xff\xe1" + struct.pack(">H", len(part) + 2) + part for part in parts)
