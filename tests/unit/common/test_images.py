"""Pillow judges an upload: a picture as RGB, or a typed refusal."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from common import images, problems
from common.pixels import squash
from common.problems import Kind, Problem

LIMIT = 1_000_000


def drawn(mode: str = "RGB", size: tuple[int, int] = (40, 20)) -> Image.Image:
    noise = Image.effect_noise(size, 80)
    return Image.merge("RGB", (noise, noise.rotate(90), noise.rotate(180))).convert(mode)


def encoded(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def png_claiming(width: int, height: int) -> bytes:
    """A tiny file whose header promises a huge picture."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(b"\0" * 1000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def refusal(data: bytes) -> Kind:
    with pytest.raises(Problem) as refused:
        images.check(data, LIMIT)
    with pytest.raises(Problem) as refused_again:
        images.decode(data, LIMIT)
    assert refused.value.kind is refused_again.value.kind
    return refused.value.kind


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_every_accepted_format_is_read(format: str) -> None:
    data = encoded(drawn(), format)

    assert images.check(data, LIMIT) == images.Facts(format, 40, 20)
    assert images.decode(data, LIMIT).size == (40, 20)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I", "F"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    picture = images.decode(encoded(drawn(mode), "TIFF"), LIMIT)

    assert picture.mode == "RGB"
    assert len(picture.getcolors(LIMIT) or []) > 1


def test_sixteen_bits_keep_their_brightness() -> None:
    grey = Image.new("I;16", (4, 4), 0x8080)

    assert images.decode(encoded(grey), LIMIT).getpixel((0, 0)) == (128, 128, 128)


def test_transparency_is_laid_on_white() -> None:
    clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0))

    assert images.decode(encoded(clear), LIMIT).getpixel((0, 0)) == (255, 255, 255)


def test_an_animation_gives_its_first_frame() -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])

    assert images.decode(data, LIMIT).getpixel((0, 0)) == (255, 0, 0)


class TestEnough:
    """A large JPEG is decoded at a part of its size when a small picture is made of it."""

    @staticmethod
    def photograph() -> Image.Image:
        """Detail at every size, as photographs have it."""
        random = np.random.default_rng(0)
        layers = [
            Image.fromarray(random.integers(0, 256, (side * 3, side * 4, 3), dtype=np.uint8)).resize((1600, 1200))
            for side in (4, 16, 64, 200)
        ]
        mixed = np.mean([np.asarray(layer, dtype=np.float32) for layer in layers], axis=0)
        return Image.fromarray(mixed.astype(np.uint8))

    @pytest.mark.parametrize(
        ("enough", "size"), [(None, (1600, 1200)), (400, (1600, 1200)), (300, (800, 600)), (128, (400, 300))]
    )
    def test_no_side_falls_below_twice_what_is_enough(self, enough: int | None, size: tuple[int, int]) -> None:
        assert images.decode(encoded(self.photograph(), "JPEG", quality=90), 10**7, enough).size == size

    def test_the_small_picture_is_the_same_but_for_a_grey_level(self) -> None:
        data = encoded(self.photograph(), "JPEG", quality=90)

        whole, part = (squash(images.decode(data, 10**7, enough), 300).astype(int) for enough in (None, 300))

        assert np.abs(whole - part).mean() < 1.0
        assert np.abs(whole - part).max() < 12

    def test_other_formats_are_decoded_whole(self) -> None:
        assert images.decode(encoded(drawn()), 10**7, 2).size == drawn().size


def test_a_picture_taken_sideways_is_turned_upright() -> None:
    sideways = drawn()
    exif = sideways.getexif()
    exif[images.ORIENTATION] = 6
    data = encoded(sideways, "JPEG", exif=exif)

    assert images.check(data, LIMIT) == images.Facts("JPEG", 20, 40)
    assert images.decode(data, LIMIT).size == (20, 40)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_broken_metadata_does_not_matter() -> None:
    data = encoded(drawn(), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff broken")

    assert images.decode(data, LIMIT).size == (40, 20)


def test_an_empty_file_is_refused_as_empty() -> None:
    assert refusal(b"") is problems.EMPTY_UPLOAD


@pytest.mark.parametrize("data", [b"dear diary", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%!PS-Adobe-3.0"])
def test_what_is_no_picture_is_refused_whatever_its_name(data: bytes) -> None:
    assert refusal(data) is problems.UNSUPPORTED_IMAGE


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_a_truncated_picture_is_refused_as_damaged(format: str) -> None:
    data = encoded(drawn(size=(200, 200)), format)

    assert refusal(data[: len(data) // 2]) is problems.DAMAGED_IMAGE


@pytest.mark.parametrize("side", [1_001, 10_000, 30_000])
def test_a_decompression_bomb_is_refused_by_its_header(side: int) -> None:
    assert refusal(png_claiming(side, side)) is problems.IMAGE_TOO_LARGE
