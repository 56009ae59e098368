"""Camera RAW files are recognised by their content, and read by their preview."""

from __future__ import annotations

import io
import struct

import pytest
from PIL import Image

from common import problems
from common.images import decoding, raw
from common.problems import Kind, Problem
from tests.support import heic
from tests.support.images import drawing, encoded
from tests.support.raw import DNG, SIGNATURES, UNCOMPRESSED, dng

LIMIT = 50_000_000


@pytest.mark.parametrize("name", SIGNATURES)
def test_a_maker_s_format_is_recognised(name: str) -> None:
    assert raw.is_raw(SIGNATURES[name])
    assert not decoding.is_heif(SIGNATURES[name])


@pytest.mark.parametrize("data", [DNG, dng(), dng()[:200]], ids=["preview", "no preview", "truncated"])
def test_a_dng_is_recognised(data: bytes) -> None:
    assert raw.is_raw(data)


def test_a_tiff_with_sensor_data_in_a_sub_directory_is_recognised() -> None:
    assert raw.is_raw(DNG.replace(struct.pack("<H", 50706), struct.pack("<H", 50000)))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF"])
def test_no_other_format_is_taken_for_raw(format: str) -> None:
    assert not raw.is_raw(encoded(format=format))
    assert not raw.is_raw(heic.RGB)


@pytest.mark.parametrize("length", [0, 3, 4, 7, 8, 12, 40])
def test_a_short_file_is_examined(length: int) -> None:
    assert not raw.is_raw(encoded(format="TIFF")[:length])


def test_directories_that_form_a_cycle_are_read_once() -> None:
    assert not raw.is_raw(b"II*\0" + struct.pack("<IHHHIII", 8, 1, 330, 4, 1, 8, 8))


def test_the_preview_is_the_jpeg_in_the_file() -> None:
    with Image.open(io.BytesIO(raw.preview(DNG))) as image:
        assert image.size == (320, 240)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_preview_is_upright(orientation: int) -> None:
    exif = Image.Exif()
    exif[decoding.ORIENTATION] = orientation
    jpeg, pixels = io.BytesIO(), drawing(size=(64, 48))
    pixels.save(jpeg, "JPEG", exif=exif)
    expected = decoding.decode(jpeg.getvalue(), LIMIT)

    for data in (
        dng(encoded(pixels), preview_size=(64, 48), orientation=orientation),
        dng(jpeg.getvalue(), preview_size=(64, 48), orientation=orientation),
    ):
        assert decoding.decode(raw.preview(data), LIMIT).tobytes() == expected.tobytes()


def test_a_truncated_preview_gets_no_bytes_of_another_file() -> None:
    for _ in range(3):
        raw.preview(DNG)  # leaves its bytes in the memory that LibRaw takes next

    with pytest.raises(Problem, match="truncated"):
        raw.preview(DNG[:-1000])


def replaced(data: bytes, tag: int, value: int) -> bytes:
    """The first directory of a DNG with another value of a tag that is a `long`."""
    at = data.index(struct.pack("<HHI", tag, 4, 1)) + 8
    return data[:at] + struct.pack("<I", value) + data[at + 4 :]


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (dng(), problems.UNSUPPORTED_IMAGE),
        (dng(bytes(3 * 64 * 48), preview_size=(64, 48), compression=UNCOMPRESSED), problems.UNSUPPORTED_IMAGE),
        *((data, problems.UNSUPPORTED_IMAGE) for data in SIGNATURES.values()),
        (DNG[:100], problems.DAMAGED_IMAGE),
        (DNG[:-2000], problems.DAMAGED_IMAGE),
        (replaced(DNG, 279, 2**31 - 1), problems.UNSUPPORTED_IMAGE),
        (replaced(DNG, 273, 2**31 - 1), problems.UNSUPPORTED_IMAGE),
    ],
    ids=["no preview", "pixels", *SIGNATURES, "beginning", "truncated", "large size", "far offset"],
)
def test_a_file_without_a_readable_preview_is_refused(data: bytes, kind: Kind) -> None:
    with pytest.raises(Problem) as error:
        decoding.check(raw.preview(data), LIMIT)

    assert error.value.kind is kind
