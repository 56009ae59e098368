"""Preprocessing gives the same pixels as BLIP's processor in transformers."""

from __future__ import annotations

import numpy as np
import pytest
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

from captioning.preprocessing import CLIP_STD, Preprocessing
from tests.support.images import drawing


@pytest.mark.parametrize("size", [(640, 480), (100, 300), (384, 384)])
def test_pixels_equal_blip_s_processor_within_one_grey_level(size: tuple[int, int]) -> None:
    image = drawing(size=size)
    processor = BlipImageProcessorPil(size={"height": 384, "width": 384})

    theirs = processor(image, return_tensors="np")["pixel_values"][0]
    ours = Preprocessing(384).pixels(image)

    assert ours.shape == theirs.shape == (3, 384, 384)
    assert ours.dtype == np.float32
    assert (np.abs(ours - theirs) * np.array(CLIP_STD).reshape(3, 1, 1) * 255).max() <= 1.0
