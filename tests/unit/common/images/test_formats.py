"""The accepted formats have the suffixes that Pillow knows."""

from __future__ import annotations

from PIL import Image

from common.images import decoding, raw
from common.images.formats import FORMATS, RENDERED_SUFFIXES


def test_the_suffixes_are_those_of_pillow() -> None:
    assert decoding  # registers HEIC
    known = {suffix for suffix, name in Image.registered_extensions().items() if name in FORMATS}

    assert known == RENDERED_SUFFIXES


def test_no_suffix_is_both_rendered_and_raw() -> None:
    assert not RENDERED_SUFFIXES & raw.SUFFIXES
