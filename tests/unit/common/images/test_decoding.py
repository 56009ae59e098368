"""Pillow judges an upload: a picture as RGB, or a typed refusal."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from captioning.preprocessing import squash
from common import problems
from common.images import decoding, webp
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


def colour(image: Image.Image, x: int, y: int) -> tuple[int, int, int]:
    red, green, blue = np.asarray(image.convert("RGB"))[y, x].tolist()
    return red, green, blue


def refusal(data: bytes) -> Kind:
    with pytest.raises(Problem) as refused:
        decoding.check(data, LIMIT)
    with pytest.raises(Problem) as refused_again:
        decoding.decode(data, LIMIT)
    assert refused.value.kind is refused_again.value.kind
    return refused.value.kind


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_every_accepted_format_is_read(format: str) -> None:
    data = encoded(drawn(), format)

    assert decoding.check(data, LIMIT) == decoding.Facts(format, 40, 20)
    assert decoding.decode(data, LIMIT).size == (40, 20)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr", "LAB", "I", "F"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    picture = decoding.decode(encoded(drawn(mode), "TIFF"), LIMIT)

    assert picture.mode == "RGB"
    assert len(picture.getcolors(LIMIT) or []) > 1


def test_sixteen_bits_keep_their_brightness() -> None:
    grey = Image.new("I;16", (4, 4), 0x8080)

    assert decoding.decode(encoded(grey), LIMIT).getpixel((0, 0)) == (128, 128, 128)


def test_transparency_is_laid_on_white() -> None:
    clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0))

    assert decoding.decode(encoded(clear), LIMIT).getpixel((0, 0)) == (255, 255, 255)


class TestAnimations:
    """The first frame that is not empty stands for all of them."""

    CLEAR = (0, 0, 0, 0)

    @staticmethod
    def animation(format: str, *colours: str | tuple[int, ...]) -> bytes:
        """Each frame in a single colour, but for a corner that keeps equal frames apart."""
        frames = [Image.new("RGBA", (40, 20), colour) for colour in colours]
        for number, frame in enumerate(frames):
            frame.putpixel((39, 19), (0, 0, number, 0 if colours[number] == TestAnimations.CLEAR else 255))
        lossless = {"lossless": True, "exact": True} if format == "WEBP" else {}
        return encoded(frames[0], format, save_all=True, append_images=frames[1:], disposal=2, **lossless)

    @staticmethod
    def seen(data: bytes) -> tuple[int, int, int]:
        """The colour of the picture, which all its uses must agree on."""
        assert decoding.check(data, LIMIT).width == 40
        with Image.open(io.BytesIO(decoding.thumbnail(data, LIMIT, 20))) as small:
            thumbnail = colour(small, 5, 5)
        picture = colour(decoding.decode(data, LIMIT), 5, 5)
        assert colour(decoding.square(data, LIMIT, 8), 2, 2) == picture
        assert np.abs(np.subtract(thumbnail, picture)).max() < 3
        return picture

    @pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG"])
    def test_the_first_frame_is_taken(self, format: str) -> None:
        assert self.seen(self.animation(format, "red", "blue")) == (255, 0, 0)

    @pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "AVIF"])
    @pytest.mark.parametrize("empty", [1, 3])
    def test_empty_frames_are_skipped(self, format: str, empty: int) -> None:
        found = self.seen(self.animation(format, *[self.CLEAR] * empty, "red", "blue"))

        assert np.abs(np.subtract(found, (255, 0, 0))).max() < 5

    @pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG"])
    def test_one_of_empty_frames_is_white(self, format: str) -> None:
        assert self.seen(self.animation(format, *[self.CLEAR] * 3)) == (255, 255, 255)

    def test_only_so_many_are_looked_at(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(decoding, "FRAMES", 3)

        assert self.seen(self.animation("PNG", self.CLEAR, self.CLEAR, "red")) == (255, 0, 0)
        assert self.seen(self.animation("PNG", self.CLEAR, self.CLEAR, self.CLEAR, "red")) == (255, 255, 255)

    @pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG"])
    def test_one_that_is_cut_off_after_its_empty_frame_is_no_error_of_the_server(self, format: str) -> None:
        data = self.animation(format, self.CLEAR, "red", "blue")

        for tenth in range(1, 10):
            with contextlib.suppress(Problem):
                decoding.decode(data[: len(data) * tenth // 10], LIMIT)

    def test_a_frame_that_is_larger_than_the_first_is_refused(self) -> None:
        data = bytearray(self.animation("GIF", self.CLEAR, "red"))
        second = data.index(b"\x2c", data.index(b"\x2c") + 10)
        data[second + 5 : second + 9] = struct.pack("<HH", 1100, 1000)

        with pytest.raises(Problem, match="1100 x 1000 pixels") as refused:
            decoding.check(bytes(data), LIMIT)
        assert refused.value.kind is problems.IMAGE_TOO_LARGE


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
        assert decoding.decode(encoded(self.photograph(), "JPEG", quality=90), 10**7, enough).size == size

    def test_the_small_picture_is_the_same_but_for_a_grey_level(self) -> None:
        data = encoded(self.photograph(), "JPEG", quality=90)

        whole, part = (squash(decoding.decode(data, 10**7, enough), 300).astype(int) for enough in (None, 300))

        assert np.abs(whole - part).mean() < 1.0
        assert np.abs(whole - part).max() < 12

    @pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "I;16", "F"])
    def test_other_formats_are_made_smaller_strip_by_strip(self, mode: str) -> None:
        picture = self.photograph().convert("F" if mode == "F" else "L" if mode == "I;16" else mode)
        if mode == "I;16":
            picture = Image.fromarray(np.asarray(picture).astype(np.uint16) * 257)
        data = encoded(picture, "TIFF")

        whole, part = (decoding.decode(data, 10**7, enough) for enough in (None, 150))

        assert (whole.size, part.size) == ((1600, 1200), (400, 300))
        expected, found = (squash(image, 150).astype(int) for image in (whole, part))
        assert np.abs(expected - found).mean() < 1.0

    @pytest.mark.parametrize("size", [(4000, 3000), (1920, 1080), (1080, 1920), (6000, 500)])
    @pytest.mark.parametrize("format", ["JPEG", "PNG"])
    def test_a_picture_keeps_its_aspect_ratio(self, size: tuple[int, int], format: str) -> None:
        width, height = decoding.decode(encoded(Image.new("RGB", size), format), 2 * 10**7, 240).size

        assert min(width, height) >= 480
        assert width / height == pytest.approx(size[0] / size[1], rel=0.01)

    def test_a_picture_that_is_squashed_is_reduced_on_each_side_as_far_as_it_goes(self) -> None:
        data = encoded(Image.new("RGB", (6000, 500)), "PNG")

        assert decoding.decode(data, 10**7, 100, keep_aspect=False).size == (200, 250)
        assert decoding.square(data, 10**7, 100).size == (100, 100)

    def test_a_thumbnail_fits_and_keeps_its_shape(self) -> None:
        for format in ("JPEG", "PNG"):
            with Image.open(io.BytesIO(decoding.thumbnail(encoded(self.photograph(), format), 10**7, 320))) as small:
                assert (small.format, small.size) == ("JPEG", (320, 240))

    def test_sixteen_bits_have_a_thumbnail(self) -> None:
        grey = Image.new("I;16", (400, 400), 0x8080)

        with Image.open(io.BytesIO(decoding.thumbnail(encoded(grey), 10**7, 100))) as small:
            assert small.getpixel((50, 50)) == (128, 128, 128)


#: How a camera that was held in each orientation stores what is upright.
STORED = {
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
def test_a_picture_taken_sideways_is_turned_upright(format: str, options: dict[str, object], orientation: int) -> None:
    upright = Image.new("RGB", (64, 32), "blue")
    upright.paste("red", (0, 0, 32, 16))
    turn = STORED.get(orientation)
    exif = Image.Exif()
    exif[decoding.ORIENTATION] = orientation
    data = encoded(upright.transpose(turn) if turn is not None else upright, format, exif=exif, **options)

    assert decoding.check(data, LIMIT) == decoding.Facts(format, 64, 32)
    whole, part, square = (
        decoding.decode(data, LIMIT),
        decoding.decode(data, LIMIT, 8),
        decoding.square(data, LIMIT, 32),
    )
    with Image.open(io.BytesIO(decoding.thumbnail(data, LIMIT, 32))) as opened:
        thumbnail = opened.convert("RGB")
    assert (whole.size, thumbnail.size, square.size) == ((64, 32), (32, 16), (32, 32))
    for picture in (whole, part, square, thumbnail):
        at = [colour(picture, picture.width * x // 4, picture.height * y // 4) for x, y in ((1, 1), (3, 1), (1, 3))]
        assert np.abs(np.subtract(at, [(255, 0, 0), (0, 0, 255), (0, 0, 255)])).max() < 16


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_broken_metadata_does_not_matter() -> None:
    data = encoded(drawn(), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff broken")

    assert decoding.decode(data, LIMIT).size == (40, 20)


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


class TestMostPixels:
    """The setting is the only limit, and a refusal names the picture's size and what helps."""

    @pytest.mark.parametrize(("format", "mode"), [("JPEG", "L"), ("PNG", "1")])
    def test_a_picture_of_100_megapixels_is_read_where_so_many_are_allowed(self, format: str, mode: str) -> None:
        data = encoded(Image.new(mode, (10_000, 10_000)), format)

        assert decoding.check(data, 100_000_000).width == 10_000
        assert decoding.square(data, 100_000_000, 8).size == (8, 8)
        with pytest.raises(
            Problem, match="10000 x 10000 pixels are more than the 99 megapixels that are accepted here"
        ):
            decoding.check(data, 99_000_000)

    @pytest.mark.parametrize("side", [10_000, 14_000, 30_000])
    def test_its_size_is_named_however_large_it_is(self, side: int) -> None:
        with pytest.raises(Problem, match=f"^{side} x {side} pixels are more than the 50 megapixels that are accepted"):
            decoding.check(png(side, side, zlib.compress(bytes(1000))), 50_000_000)

    @pytest.mark.parametrize(
        ("format", "options", "limit", "words"),
        [
            ("JPEG", {}, 9_999, "here. Make the picture smaller, and send it again."),
            ("PNG", {}, 9_999, "here. Make the picture smaller, and send it again."),
            ("PNG", {}, 10_000, "Make the picture smaller, or save it as JPEG, and send it again."),
            ("WEBP", {}, 10_000, "Make the picture smaller, or save it as JPEG, and send it again."),
            ("JPEG", {}, 10_000, "Make the picture smaller, and send it again."),
            ("JPEG", {"progressive": True}, 10_000, "or save it as a baseline (not progressive) JPEG, and send"),
        ],
    )
    def test_the_advice_is_one_that_helps(
        self, format: str, options: dict[str, object], limit: int, words: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        data = encoded(Image.new("RGB", (100, 100)), format, **options)
        if limit == 10_000:
            monkeypatch.setattr(decoding, "MEMORY", 10_000)

        with pytest.raises(Problem) as refused:
            decoding.check(data, limit)
        assert refused.value.kind is problems.IMAGE_TOO_LARGE
        assert words in refused.value.detail

    def test_a_jpeg_that_takes_too_much_is_not_to_be_saved_as_jpeg(self) -> None:
        assert "JPEG" not in decoding.advice(encoded(drawn(), "JPEG"))
        assert "JPEG" in decoding.advice(encoded(drawn(), "PNG"))


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
            decoding.check(large, 10**9)
        assert refused.value.kind is problems.IMAGE_TOO_LARGE

    @pytest.mark.parametrize("options", [{"progressive": True}, {"subsampling": 0, "progressive": True}])
    def test_a_jpeg_of_several_scans_counts_its_coefficients(
        self, options: dict[str, object], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bytes_per_pixel = 6 if "subsampling" in options else 3
        data = encoded(Image.new("RGB", (1000, 1000)), "JPEG", **options)
        monkeypatch.setattr(decoding, "MEMORY", bytes_per_pixel * 10**6)
        assert decoding.check(data, 10**9).width == 1000
        monkeypatch.setattr(decoding, "MEMORY", bytes_per_pixel * 10**6 - 10)

        with pytest.raises(Problem) as refused:
            decoding.check(data, 10**9)
        assert refused.value.kind is problems.IMAGE_TOO_LARGE

    @pytest.mark.parametrize(("size", "bytes_per_pixel"), [((4096, 4096), 1), ((4095, 4100), 4)])
    def test_a_jpeg_of_one_scan_is_decoded_row_by_row_unless_it_is_narrow(
        self, size: tuple[int, int], bytes_per_pixel: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        data = encoded(Image.new("RGB", size), "JPEG")
        monkeypatch.setattr(decoding, "MEMORY", bytes_per_pixel * size[0] * size[1])
        assert decoding.check(data, 10**9).width == size[0]
        monkeypatch.setattr(decoding, "MEMORY", bytes_per_pixel * size[0] * size[1] - 10)

        with pytest.raises(Problem, match="Make the picture smaller, and send") as refused:
            decoding.check(data, 10**9)
        assert refused.value.kind is problems.IMAGE_TOO_LARGE

    @pytest.mark.parametrize(("mode", "bytes_per_pixel"), [("1", 1), ("L", 1), ("P", 1), ("I;16", 2), ("RGB", 4)])
    def test_a_png_counts_pillow_s_copy(self, mode: str, bytes_per_pixel: int, monkeypatch: pytest.MonkeyPatch) -> None:
        data = encoded(Image.new(mode, (100, 100)))
        monkeypatch.setattr(decoding, "MEMORY", bytes_per_pixel * 10**4)
        assert decoding.check(data, 10**9).width == 100
        monkeypatch.setattr(decoding, "MEMORY", bytes_per_pixel * 10**4 - 10)

        assert refusal(data) is problems.IMAGE_TOO_LARGE

    @pytest.mark.parametrize("options", [{"lossless": True}, {}, {"lossless": True, "exact": True}])
    def test_a_webp_s_size_is_read_from_each_kind_of_header(self, options: dict[str, object]) -> None:
        animated = encoded(drawn(), "WEBP", save_all=True, append_images=[drawn().rotate(90)])

        assert webp.size(encoded(drawn(size=(40, 20)), "WEBP", **options)) == (40, 20)
        assert webp.size(encoded(drawn("RGBA", (40, 20)), "WEBP", **options)) == (40, 20)
        assert webp.size(animated) == (40, 20)

    @pytest.mark.parametrize("data", [b"", b"RIFF\0\0\0\0WEBP", b"RIFF\0\0\0\0WEBPVP8 ", bytes(40)])
    def test_what_is_no_webp_has_no_such_header(self, data: bytes) -> None:
        assert webp.size(data) is None
