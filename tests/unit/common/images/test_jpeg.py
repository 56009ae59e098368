"""A JPEG without its end marker is read when all of its pixels are there, and refused when some are not."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from common import problems
from common.images import decoding, jpeg
from common.problems import Problem

LIMIT = 10_000_000
#: Ways to write the same picture; restart markers are places where a file can be cut without an error in its data.
WRITTEN: list[dict[str, object]] = [
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


def written(image: Image.Image, **options: object) -> bytes:
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


@pytest.mark.parametrize("options", WRITTEN)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_what_lacks_only_its_end_marker_is_the_same_picture(mode: str, options: dict[str, object]) -> None:
    whole = written(photograph(mode), **options)
    assert whole.endswith(jpeg.END)

    for cut in (whole[:-2], whole[:-1], whole[:-2] + bytes(100)):
        assert decoding.check(cut, LIMIT) == decoding.Facts("JPEG", 203, 151)
        assert decoding.decode(cut, LIMIT) == decoding.decode(whole, LIMIT)
        assert decoding.thumbnail(cut, LIMIT, 64) == decoding.thumbnail(whole, LIMIT, 64)


@pytest.mark.parametrize("options", WRITTEN)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_what_lacks_pixels_is_refused_wherever_it_is_cut(mode: str, options: dict[str, object]) -> None:
    whole = written(photograph(mode), **options)

    accepted = [cut for cut in [*range(3, 40), *range(40, len(whole), 97)] if not is_refused(whole[:-cut])]

    assert accepted == []


def test_a_progressive_one_that_is_cut_between_two_scans_is_refused() -> None:
    whole = written(photograph(), progressive=True)
    scans = [place for place in range(len(whole)) if whole.startswith(jpeg.SCAN, place)]
    assert len(scans) > 5

    for scan in scans[1:]:
        assert is_refused(whole[:scan])
        assert is_refused(whole[: scan + 4])


def test_a_large_one_is_compared_at_a_part_of_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jpeg, "COMPARED_PIXELS", 2000)
    for options in WRITTEN:
        whole = written(photograph(), **options)

        assert not is_refused(whole[:-2])
        assert is_refused(whole[:-200])
