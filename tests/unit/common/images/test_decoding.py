"""Uploads are decoded to RGB, or refused with the right kind of problem."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from captioning.preprocessing import resize
from common import problems
from common.images import decoding, webp
from common.problems import Kind, Problem
from tests.support import heic
from tests.support.hostile import png

LIMIT = 1_000_000


def draw_noise(mode: str = "RGB", size: tuple[int, int] = (40, 20)) -> Image.Image:
    noise = Image.effect_noise(size, 80)
    return Image.merge("RGB", (noise, noise.rotate(90), noise.rotate(180))).convert(mode)


def encoded(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def colour(image: Image.Image, x: int, y: int) -> tuple[int, int, int]:
    red, green, blue = np.asarray(image.convert("RGB"))[y, x].tolist()
    return red, green, blue


def refusal(data: bytes) -> Kind:
    """Return the kind of problem that both `check` and `decode` raise."""
    with pytest.raises(Problem) as check_error:
        decoding.check(data, LIMIT)
    with pytest.raises(Problem) as decode_error:
        decoding.decode(data, LIMIT)
    assert check_error.value.kind is decode_error.value.kind
    return check_error.value.kind


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_every_accepted_format_is_read(format: str) -> None:
    data = encoded(draw_noise(), format)

    assert decoding.check(data, LIMIT) == decoding.ImageInfo(format, 40, 20)
    assert decoding.decode(data, LIMIT).size == (40, 20)


class TestHeic:
    def test_an_image_is_read(self) -> None:
        assert decoding.check(heic.RGB, LIMIT) == decoding.ImageInfo("HEIF", 64, 32)
        assert np.abs(np.subtract(colour(decoding.decode(heic.RGB, LIMIT), 5, 5), (135, 206, 235))).max() < 4

    def test_an_image_taken_upright_is_upright(self) -> None:
        assert decoding.check(heic.TURNED, LIMIT) == decoding.ImageInfo("HEIF", 32, 64)
        assert decoding.decode(heic.TURNED, LIMIT).size == (32, 64)
        with Image.open(io.BytesIO(decoding.thumbnail(heic.TURNED, LIMIT, 64))) as small:
            assert small.size == (32, 64)

    def test_transparency_becomes_white(self) -> None:
        assert decoding.decode(heic.CLEAR, LIMIT).getpixel((0, 0)) == (255, 255, 255)

    def test_10_bits_per_sample_look_like_8(self) -> None:
        deep, plain = (np.asarray(decoding.decode(data, LIMIT)).astype(int) for data in (heic.DEEP, heic.RGB))

        assert np.abs(deep - plain).mean() < 3

    def test_an_image_of_24_megapixels_is_accepted_and_one_of_50_is_not(self) -> None:
        assert decoding.check(heic.MP24, 10**8).width == 5712
        with pytest.raises(Problem) as refused:
            decoding.check(heic.MP50, 10**8)
        assert refused.value.kind is problems.IMAGE_TOO_LARGE

    @pytest.mark.parametrize("tenth", range(1, 10))
    def test_a_truncated_file_is_refused(self, tenth: int) -> None:
        with pytest.raises(Problem) as refused:
            decoding.check(heic.RGB[: len(heic.RGB) * tenth // 10], LIMIT)
        assert refused.value.kind in (problems.DAMAGED_IMAGE, problems.UNSUPPORTED_IMAGE)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr", "LAB", "I", "F"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    image = decoding.decode(encoded(draw_noise(mode), "TIFF"), LIMIT)

    assert image.mode == "RGB"
    assert len(image.getcolors(LIMIT) or []) > 1


def test_a_16_bit_image_keeps_its_brightness() -> None:
    grey = Image.new("I;16", (4, 4), 0x8080)

    assert decoding.decode(encoded(grey), LIMIT).getpixel((0, 0)) == (128, 128, 128)


def test_transparency_becomes_white() -> None:
    clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0))

    assert decoding.decode(encoded(clear), LIMIT).getpixel((0, 0)) == (255, 255, 255)


class TestAnimations:
    """An animation gives its first frame that is not empty."""

    CLEAR = (0, 0, 0, 0)

    @staticmethod
    def animation(format: str, *colours: str | tuple[int, ...]) -> bytes:
        """Encode frames of a single colour. One corner pixel differs, so that equal frames are not merged."""
        frames = [Image.new("RGBA", (40, 20), colour) for colour in colours]
        for number, frame in enumerate(frames):
            frame.putpixel((39, 19), (0, 0, number, 0 if colours[number] == TestAnimations.CLEAR else 255))
        lossless = {"lossless": True, "exact": True} if format == "WEBP" else {}
        return encoded(frames[0], format, save_all=True, append_images=frames[1:], disposal=2, **lossless)

    @staticmethod
    def decoded_colour(data: bytes) -> tuple[int, int, int]:
        """Return the colour of the image, and assert that the thumbnail and the model's input have it, too."""
        assert decoding.check(data, LIMIT).width == 40
        with Image.open(io.BytesIO(decoding.thumbnail(data, LIMIT, 20))) as small:
            thumbnail = colour(small, 5, 5)
        image = colour(decoding.decode(data, LIMIT), 5, 5)
        assert colour(decoding.preprocess(data, LIMIT, 8), 2, 2) == image
        assert np.abs(np.subtract(thumbnail, image)).max() < 3
        return image

    @pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG"])
    def test_the_first_frame_is_decoded(self, format: str) -> None:
        assert self.decoded_colour(self.animation(format, "red", "blue")) == (255, 0, 0)

    @pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "AVIF"])
    @pytest.mark.parametrize("empty", [1, 3])
    def test_empty_frames_are_skipped(self, format: str, empty: int) -> None:
        actual = self.decoded_colour(self.animation(format, *[self.CLEAR] * empty, "red", "blue"))

        assert np.abs(np.subtract(actual, (255, 0, 0))).max() < 5

    @pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG"])
    def test_an_animation_of_empty_frames_is_white(self, format: str) -> None:
        assert self.decoded_colour(self.animation(format, *[self.CLEAR] * 3)) == (255, 255, 255)

    def test_the_number_of_searched_frames_is_limited(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(decoding, "MAX_FRAMES", 3)

        assert self.decoded_colour(self.animation("PNG", self.CLEAR, self.CLEAR, "red")) == (255, 0, 0)
        assert self.decoded_colour(self.animation("PNG", self.CLEAR, self.CLEAR, self.CLEAR, "red")) == (255, 255, 255)

    @pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG"])
    def test_a_truncated_animation_raises_only_problems(self, format: str) -> None:
        data = self.animation(format, self.CLEAR, "red", "blue")

        for tenth in range(1, 10):
            with contextlib.suppress(Problem):
                decoding.decode(data[: len(data) * tenth // 10], LIMIT)

    def test_a_frame_that_is_larger_than_the_first_is_refused(self) -> None:
        data = bytearray(self.animation("GIF", self.CLEAR, "red"))
        second = data.index(b"\x2c", data.index(b"\x2c") + 10)
        data[second + 5 : second + 9] = struct.pack("<HH", 1100, 1000)

        with pytest.raises(Problem, match="1100 x 1000 pixels") as error:
            decoding.check(bytes(data), LIMIT)
        assert error.value.kind is problems.IMAGE_TOO_LARGE


class TestReduction:
    """A large image is decoded at a reduced size if a small one is needed."""

    @staticmethod
    def photograph() -> Image.Image:
        """Return an image with detail at every scale, like a photograph."""
        random = np.random.default_rng(0)
        layers = [
            Image.fromarray(random.integers(0, 256, (side * 3, side * 4, 3), dtype=np.uint8)).resize((1600, 1200))
            for side in (4, 16, 64, 200)
        ]
        mixed = np.mean([np.asarray(layer, dtype=np.float32) for layer in layers], axis=0)
        return Image.fromarray(mixed.astype(np.uint8))

    @pytest.mark.parametrize(
        ("min_side", "size"), [(None, (1600, 1200)), (401, (1600, 1200)), (300, (800, 600)), (128, (400, 300))]
    )
    def test_no_side_is_reduced_below_twice_the_minimum(self, min_side: int | None, size: tuple[int, int]) -> None:
        assert decoding.decode(encoded(self.photograph(), "JPEG", quality=90), 10**7, min_side).size == size

    def test_a_reduced_jpeg_resizes_to_the_same_image_within_a_grey_level(self) -> None:
        data = encoded(self.photograph(), "JPEG", quality=90)

        full, reduced = (resize(decoding.decode(data, 10**7, min_side), 300).astype(int) for min_side in (None, 300))

        assert np.abs(full - reduced).mean() < 1.0
        assert np.abs(full - reduced).max() < 12

    @pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "I;16", "F"])
    def test_other_formats_are_reduced_without_loss(self, mode: str) -> None:
        image = self.photograph().convert("F" if mode == "F" else "L" if mode == "I;16" else mode)
        if mode == "I;16":
            image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
        data = encoded(image, "TIFF")

        full, reduced = (decoding.decode(data, 10**7, min_side) for min_side in (None, 150))

        assert (full.size, reduced.size) == ((1600, 1200), (400, 300))
        expected, actual = (resize(image, 150).astype(int) for image in (full, reduced))
        assert np.abs(expected - actual).mean() < 1.0

    @pytest.mark.parametrize("size", [(4000, 3000), (1920, 1080), (1080, 1920), (6000, 500)])
    @pytest.mark.parametrize("format", ["JPEG", "PNG"])
    def test_a_reduced_image_keeps_its_aspect_ratio(self, size: tuple[int, int], format: str) -> None:
        width, height = decoding.decode(encoded(Image.new("RGB", size), format), 2 * 10**7, 240).size

        assert min(width, height) >= 480
        assert width / height == pytest.approx(size[0] / size[1], rel=0.01)

    def test_each_side_is_reduced_separately_without_keep_aspect(self) -> None:
        data = encoded(Image.new("RGB", (6000, 500)), "PNG")

        assert decoding.decode(data, 10**7, 100, keep_aspect=False).size == (200, 250)
        assert decoding.preprocess(data, 10**7, 100).size == (100, 100)

    def test_a_thumbnail_fits_and_keeps_its_aspect_ratio(self) -> None:
        for format in ("JPEG", "PNG"):
            with Image.open(io.BytesIO(decoding.thumbnail(encoded(self.photograph(), format), 10**7, 320))) as small:
                assert (small.format, small.size) == ("JPEG", (320, 240))

    def test_a_16_bit_image_has_a_thumbnail(self) -> None:
        grey = Image.new("I;16", (400, 400), 0x8080)

        with Image.open(io.BytesIO(decoding.thumbnail(encoded(grey), 10**7, 100))) as small:
            assert small.getpixel((50, 50)) == (128, 128, 128)


#: The transposition of an upright image that a camera stores with each EXIF orientation.
STORED_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("format", "options"),
    [
        ("JPEG", {"quality": 95, "subsampling": 0}),
        ("PNG", {}),
        ("WEBP", {"lossless": True}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_adobe_deflate"}),
        ("AVIF", {"quality": 100}),
    ],
)
def test_a_rotated_photograph_is_turned_upright(format: str, options: dict[str, object], orientation: int) -> None:
    upright = Image.new("RGB", (64, 32), "blue")
    upright.paste("red", (0, 0, 32, 16))
    turn = STORED_TRANSPOSE.get(orientation)
    exif = Image.Exif()
    exif[decoding.ORIENTATION] = orientation
    data = encoded(upright.transpose(turn) if turn is not None else upright, format, exif=exif, **options)

    assert decoding.check(data, LIMIT) == decoding.ImageInfo(format, 64, 32)
    full, reduced, model_input = (
        decoding.decode(data, LIMIT),
        decoding.decode(data, LIMIT, 8),
        decoding.preprocess(data, LIMIT, 32),
    )
    with Image.open(io.BytesIO(decoding.thumbnail(data, LIMIT, 32))) as opened:
        thumbnail = opened.convert("RGB")
    assert (full.size, thumbnail.size, model_input.size) == ((64, 32), (32, 16), (32, 32))
    for image in (full, reduced, model_input, thumbnail):
        at = [colour(image, image.width * x // 4, image.height * y // 4) for x, y in ((1, 1), (3, 1), (1, 3))]
        assert np.abs(np.subtract(at, [(255, 0, 0), (0, 0, 255), (0, 0, 255)])).max() < 16


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_broken_metadata_is_ignored() -> None:
    data = encoded(draw_noise(), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff broken")

    assert decoding.decode(data, LIMIT).size == (40, 20)


def test_an_empty_file_is_refused() -> None:
    assert refusal(b"") is problems.EMPTY_UPLOAD


@pytest.mark.parametrize("data", [b"dear diary", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%!PS-Adobe-3.0"])
def test_a_file_that_is_not_an_image_is_refused(data: bytes) -> None:
    assert refusal(data) is problems.UNSUPPORTED_IMAGE


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_a_truncated_image_is_refused_as_damaged(format: str) -> None:
    data = encoded(draw_noise(size=(200, 200)), format)

    assert refusal(data[: len(data) // 2]) is problems.DAMAGED_IMAGE


@pytest.mark.parametrize("side", [1_001, 10_000, 30_000])
def test_a_decompression_bomb_is_refused_by_its_header(side: int) -> None:
    assert refusal(png(side, side, zlib.compress(bytes(1000)))) is problems.IMAGE_TOO_LARGE


class TestMaxPixels:
    """The setting is the only limit. A refusal names the image's size and a remedy."""

    @pytest.mark.parametrize(("format", "mode"), [("JPEG", "L"), ("PNG", "1")])
    def test_an_image_of_100_megapixels_is_decoded_if_the_limit_allows_it(self, format: str, mode: str) -> None:
        data = encoded(Image.new(mode, (10_000, 10_000)), format)

        assert decoding.check(data, 100_000_000).width == 10_000
        assert decoding.preprocess(data, 100_000_000, 8).size == (8, 8)
        with pytest.raises(Problem, match="10000 x 10000 pixels are more than the 99 megapixels that are accepted"):
            decoding.check(data, 99_000_000)

    @pytest.mark.parametrize("side", [10_000, 14_000, 30_000])
    def test_a_refusal_names_the_image_s_size(self, side: int) -> None:
        with pytest.raises(Problem, match=f"^{side} x {side} pixels are more than the 50 megapixels that are accepted"):
            decoding.check(png(side, side, zlib.compress(bytes(1000))), 50_000_000)

    @pytest.mark.parametrize(
        ("format", "options", "limit", "advice"),
        [
            ("JPEG", {}, 9_999, "accepted. Make the picture smaller, and send it again."),
            ("PNG", {}, 9_999, "accepted. Make the picture smaller, and send it again."),
            ("PNG", {}, 10_000, "Make the picture smaller, or save it as JPEG, and send it again."),
            ("WEBP", {}, 10_000, "Make the picture smaller, or save it as JPEG, and send it again."),
            ("JPEG", {}, 10_000, "Make the picture smaller, and send it again."),
            ("JPEG", {"progressive": True}, 10_000, "or save it as a baseline (not progressive) JPEG, and send"),
        ],
    )
    def test_the_advice_suits_the_file(
        self, format: str, options: dict[str, object], limit: int, advice: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        data = encoded(Image.new("RGB", (100, 100)), format, **options)
        if limit == 10_000:
            monkeypatch.setattr(decoding, "PIXEL_MEMORY_LIMIT", 10_000)

        with pytest.raises(Problem) as error:
            decoding.check(data, limit)
        assert error.value.kind is problems.IMAGE_TOO_LARGE
        assert advice in error.value.detail

    def test_the_advice_for_a_jpeg_is_not_to_save_as_jpeg(self) -> None:
        assert "JPEG" not in str(decoding.advice(encoded(draw_noise(), "JPEG")))
        assert "JPEG" in str(decoding.advice(encoded(draw_noise(), "PNG")))


class TestMemory:
    """The size limit follows from the decoder's memory, and is checked before anything is decoded."""

    SIDE = 4000

    @pytest.mark.parametrize(
        ("format", "options"),
        [
            ("WEBP", {"lossless": True, "method": 0}),
            ("WEBP", {"method": 0}),
            ("AVIF", {"speed": 10}),
        ],
    )
    def test_webp_and_avif_have_a_lower_limit(self, format: str, options: dict[str, object]) -> None:
        large = encoded(Image.new("RGB", (self.SIDE, self.SIDE)), format, **options)

        with pytest.raises(Problem, match=r"12\.9 megapixels") as error:
            decoding.check(large, 10**9)
        assert error.value.kind is problems.IMAGE_TOO_LARGE

    @pytest.mark.parametrize("options", [{"progressive": True}, {"subsampling": 0, "progressive": True}])
    def test_the_coefficients_of_a_jpeg_of_several_scans_are_counted(
        self, options: dict[str, object], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bytes_per_pixel = 6 if "subsampling" in options else 3
        data = encoded(Image.new("RGB", (1000, 1000)), "JPEG", **options)
        monkeypatch.setattr(decoding, "PIXEL_MEMORY_LIMIT", bytes_per_pixel * 10**6)
        assert decoding.check(data, 10**9).width == 1000
        monkeypatch.setattr(decoding, "PIXEL_MEMORY_LIMIT", bytes_per_pixel * 10**6 - 10)

        with pytest.raises(Problem) as error:
            decoding.check(data, 10**9)
        assert error.value.kind is problems.IMAGE_TOO_LARGE

    @pytest.mark.parametrize(("size", "bytes_per_pixel"), [((4096, 4096), 1), ((4095, 4100), 4)])
    def test_a_jpeg_of_one_scan_is_reduced_unless_it_is_narrow(
        self, size: tuple[int, int], bytes_per_pixel: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        data = encoded(Image.new("RGB", size), "JPEG")
        monkeypatch.setattr(decoding, "PIXEL_MEMORY_LIMIT", bytes_per_pixel * size[0] * size[1])
        assert decoding.check(data, 10**9).width == size[0]
        monkeypatch.setattr(decoding, "PIXEL_MEMORY_LIMIT", bytes_per_pixel * size[0] * size[1] - 10)

        with pytest.raises(Problem, match="Make the picture smaller, and send") as error:
            decoding.check(data, 10**9)
        assert error.value.kind is problems.IMAGE_TOO_LARGE

    @pytest.mark.parametrize(("mode", "bytes_per_pixel"), [("1", 1), ("L", 1), ("P", 1), ("I;16", 2), ("RGB", 4)])
    def test_pillow_s_copy_of_a_png_is_counted(
        self, mode: str, bytes_per_pixel: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        data = encoded(Image.new(mode, (100, 100)))
        monkeypatch.setattr(decoding, "PIXEL_MEMORY_LIMIT", bytes_per_pixel * 10**4)
        assert decoding.check(data, 10**9).width == 100
        monkeypatch.setattr(decoding, "PIXEL_MEMORY_LIMIT", bytes_per_pixel * 10**4 - 10)

        assert refusal(data) is problems.IMAGE_TOO_LARGE

    @pytest.mark.parametrize("options", [{"lossless": True}, {}, {"lossless": True, "exact": True}])
    def test_a_webp_s_size_is_read_from_every_kind_of_header(self, options: dict[str, object]) -> None:
        animated = encoded(draw_noise(), "WEBP", save_all=True, append_images=[draw_noise().rotate(90)])

        assert webp.size(encoded(draw_noise(size=(40, 20)), "WEBP", **options)) == (40, 20)
        assert webp.size(encoded(draw_noise("RGBA", (40, 20)), "WEBP", **options)) == (40, 20)
        assert webp.size(animated) == (40, 20)

    @pytest.mark.parametrize("data", [b"", b"RIFF\0\0\0\0WEBP", b"RIFF\0\0\0\0WEBPVP8 ", bytes(40)])
    def test_other_data_has_no_webp_size(self, data: bytes) -> None:
        assert webp.size(data) is None
