"""A JPEG without end marker is accepted if it has all of its pixels, and refused otherwise."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from common import problems
from common.images import decoding, jpeg
from common.problems import Problem

LIMIT = 10_000_000
#: Encoder options. At restart markers, a file can be cut without an error in its data.
ENCODER_OPTIONS: list[dict[str, object]] = [
    {},
    {"quality": 95, "subsampling": 0},
    {"progressive": True},
    {"progressive": True, "quality": 95},
    {"restart_marker_rows": 1},
    {"restart_marker_blocks": 5, "progressive": True},
]


def photograph(mode: str = "RGB", size: tuple[int, int] = (203, 151)) -> Image.Image:
    small = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    return Image.fromarray(small).resize(size).convert(mode)


def encode(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **options)
    return buffer.getvalue()


def is_refused(data: bytes) -> bool:
    try:
        decoding.check(data, LIMIT)
    except Problem as problem:
        assert problem.kind in (problems.DAMAGED_IMAGE, problems.UNSUPPORTED_IMAGE)
        return True
    return False


@pytest.mark.parametrize("options", ENCODER_OPTIONS)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_that_lacks_only_its_end_marker_is_decoded(mode: str, options: dict[str, object]) -> None:
    full = encode(photograph(mode), **options)
    assert full.endswith(jpeg.END_OF_IMAGE)

    for cut in (full[:-2], full[:-1], full[:-2] + bytes(100)):
        assert decoding.check(cut, LIMIT) == decoding.ImageInfo("JPEG", 203, 151)
        assert decoding.decode(cut, LIMIT) == decoding.decode(full, LIMIT)
        assert decoding.thumbnail(cut, LIMIT, 64) == decoding.thumbnail(full, LIMIT, 64)


@pytest.mark.parametrize("options", ENCODER_OPTIONS)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_jpeg_that_lacks_pixels_is_refused(mode: str, options: dict[str, object]) -> None:
    full = encode(photograph(mode), **options)

    accepted = [cut for cut in [*range(3, 40), *range(40, len(full), 97)] if not is_refused(full[:-cut])]

    assert accepted == []


def test_a_progressive_jpeg_cut_between_two_scans_is_refused() -> None:
    full = encode(photograph(), progressive=True)
    scans = [position for position in range(len(full)) if full.startswith(jpeg.START_OF_SCAN, position)]
    assert len(scans) > 5

    for scan in scans[1:]:
        assert is_refused(full[:scan])
        assert is_refused(full[: scan + 4])


def test_a_large_jpeg_is_compared_at_a_reduced_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jpeg, "MAX_COMPARED_PIXELS", 2000)
    for options in ENCODER_OPTIONS:
        full = encode(photograph(), **options)

        assert not is_refused(full[:-2])
        assert is_refused(full[:-200])
