"""Pillow judges an upload: a picture as RGB, or a typed refusal."""

from __future__ import annotations

import io
import zlib

import numpy as np
import pytest
from PIL import Image

from common import images, problems, webp
from common.pixels import squash
from common.problems import Kind, Problem
from tests.support.hostile import png

LIMIT = 1_000_000


def drawn(mode: str = "RGB", size: tuple[int, int] = (40, 20)) -> Image.Image:
    noise = Image.effect_noise(size, 80)
    return Image.merge("RGB", (noise, noise.rotate(90), noise.rotate(180))).convert(mode)


def encoded(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


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
        ("enough", "size"), [(None, (1600, 1200)), (401, (1600, 1200)), (300, (800, 600)), (128, (400, 300))]
    )
    def test_no_side_falls_below_twice_what_is_enough(self, enough: int | None, size: tuple[int, int]) -> None:
        assert images.decode(encoded(self.photograph(), "JPEG", quality=90), 10**7, enough).size == size

    def test_the_small_picture_is_the_same_but_for_a_grey_level(self) -> None:
        data = encoded(self.photograph(), "JPEG", quality=90)

        whole, part = (squash(images.decode(data, 10**7, enough), 300).astype(int) for enough in (None, 300))

        assert np.abs(whole - part).mean() < 1.0
        assert np.abs(whole - part).max() < 12

    @pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "I;16", "F"])
    def test_other_formats_are_made_smaller_strip_by_strip(self, mode: str) -> None:
        picture = self.photograph().convert("F" if mode == "F" else "L" if mode == "I;16" else mode)
        if mode == "I;16":
            picture = Image.fromarray(np.asarray(picture).astype(np.uint16) * 257)
        data = encoded(picture, "TIFF")

        whole, part = (images.decode(data, 10**7, enough) for enough in (None, 150))

        assert (whole.size, part.size) == ((1600, 1200), (400, 300))
        expected, found = (squash(image, 150).astype(int) for image in (whole, part))
        assert np.abs(expected - found).mean() < 1.0

    @pytest.mark.parametrize("size", [(4000, 3000), (1920, 1080), (1080, 1920), (6000, 500)])
    @pytest.mark.parametrize("format", ["JPEG", "PNG"])
    def test_a_picture_keeps_its_aspect_ratio(self, size: tuple[int, int], format: str) -> None:
        width, height = images.decode(encoded(Image.new("RGB", size), format), 2 * 10**7, 240).size

        assert min(width, height) >= 480
        assert width / height == pytest.approx(size[0] / size[1], rel=0.01)

    def test_a_picture_that_is_squashed_is_reduced_on_each_side_as_far_as_it_goes(self) -> None:
        data = encoded(Image.new("RGB", (6000, 500)), "PNG")

        assert images.decode(data, 10**7, 100, keep_aspect=False).size == (200, 250)
        assert images.square(data, 10**7, 100).size == (100, 100)

    def test_a_thumbnail_fits_and_keeps_its_shape(self) -> None:
        for format in ("JPEG", "PNG"):
            with Image.open(io.BytesIO(images.thumbnail(encoded(self.photograph(), format), 10**7, 320))) as small:
                assert (small.format, small.size) == ("JPEG", (320, 240))

    def test_sixteen_bits_have_a_thumbnail(self) -> None:
        grey = Image.new("I;16", (400, 400), 0x8080)

        with Image.open(io.BytesIO(images.thumbnail(encoded(grey), 10**7, 100))) as small:
            assert small.getpixel((50, 50)) == (128, 128, 128)


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
    assert refusal(png(side, side, zlib.compress(bytes(1000)))) is problems.IMAGE_TOO_LARGE


class TestMemory:
    """What its decoder would take decides how large a picture may be, before anything is decoded."""

    SIDE = 4000

    @pytest.mark.parametrize(
        ("format", "options"),
        [
            ("WEBP", {"lossless": True, "method": 0}),
            ("WEBP", {"method": 0}),
            ("AVIF", {"speed": 10}),
        ],
    )
    def test_a_format_that_is_decoded_at_once_has_a_lower_limit(self, format: str, options: dict[str, object]) -> None:
        large = encoded(Image.new("RGB", (self.SIDE, self.SIDE)), format, **options)

        with pytest.raises(Problem, match=r"12\.9 megapixels") as refused:
            images.check(large, 10**9)
        assert refused.value.kind is problems.IMAGE_TOO_LARGE

    @pytest.mark.parametrize("options", [{"progressive": True}, {"subsampling": 0, "progressive": True}])
    def test_a_jpeg_of_several_scans_counts_its_coefficients(
        self, options: dict[str, object], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bytes_per_pixel = 6 if "subsampling" in options else 3
        data = encoded(Image.new("RGB", (1000, 1000)), "JPEG", **options)
        monkeypatch.setattr(images, "MEMORY", bytes_per_pixel * 10**6)
        assert images.check(data, 10**9).width == 1000
        monkeypatch.setattr(images, "MEMORY", bytes_per_pixel * 10**6 - 10)

        with pytest.raises(Problem) as refused:
            images.check(data, 10**9)
        assert refused.value.kind is problems.IMAGE_TOO_LARGE

    def test_a_jpeg_of_one_scan_is_decoded_row_by_row(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(images, "MEMORY", 10**6)

        assert images.check(encoded(Image.new("RGB", (1000, 1000)), "JPEG"), 10**9).width == 1000

    @pytest.mark.parametrize("options", [{"lossless": True}, {}, {"lossless": True, "exact": True}])
    def test_a_webp_s_size_is_read_from_each_kind_of_header(self, options: dict[str, object]) -> None:
        assert webp.pixels(encoded(drawn(size=(40, 20)), "WEBP", **options)) == 800
        assert webp.pixels(encoded(drawn("RGBA", (40, 20)), "WEBP", **options)) == 800
        animated = encoded(drawn(), "WEBP", save_all=True, append_images=[drawn().rotate(90)])
        assert webp.pixels(animated) == 800

    @pytest.mark.parametrize("data", [b"", b"RIFF\0\0\0\0WEBP", b"RIFF\0\0\0\0WEBPVP8 ", bytes(40)])
    def test_what_is_no_webp_has_no_such_header(self, data: bytes) -> None:
        assert webp.pixels(data) == 0
