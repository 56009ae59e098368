"""In the features that are made of a background, the published classifier sees the object."""

from __future__ import annotations

import random
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from captioning.preprocessing import Preprocessing
from captioning.student.stem import MEAN, STD, HybridPatches
from tests.support.models import tiny_hybrid
from training import synthesis as of_synthesis
from training.data.augment import augment_image
from training.data.images import CaptionedImage, ImageSource
from training.data.novel_objects import NovelObject
from training.stem import patches_of, start_from_published
from training.synthesis import PROBABILITY, Synthesis

#: Classes of ImageNet.
CAT, BUS = (281, 282, 283, 284, 285), (779,)
SHAPE = (352, 8, 8)


@pytest.fixture(scope="module")
def patches() -> HybridPatches:
    student = tiny_hybrid()
    start_from_published(student, "efficientnet-lite2")
    found = patches_of(student)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def backgrounds(patches: HybridPatches) -> torch.Tensor:
    """Features of 64 random crops of matplotlib's sample portrait."""
    portrait = Image.open(Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg").convert("RGB")
    crops = [augment_image(portrait, 256, random.Random(number), mirror=True) for number in range(64)]
    preprocessing = Preprocessing(256, MEAN, STD)
    pixels = torch.stack([torch.from_numpy(preprocessing.pixels(crop)) for crop in crops])
    with torch.no_grad():
        return patches.stem.start(pixels, len(patches.stem.blocks))


@pytest.fixture
def synthesis(patches: HybridPatches, backgrounds: torch.Tensor) -> Synthesis:
    return Synthesis(patches, backgrounds.mean((2, 3)))


def example(folder: Path, classes: tuple[int, ...], replaced: tuple[int, ...] = ()) -> NovelObject:
    source = ImageSource(folder)
    background = CaptionedImage(1, "1.jpg", source, ("A wall.",))
    return NovelObject("cat 0", "cat 0", source, ("A cat.",), background, classes, replaced)


def probability(patches: HybridPatches, features: NDArray[np.float16], classes: tuple[int, ...]) -> float:
    """The published classifier's probability of the classes."""
    with torch.no_grad():
        output = patches.stem.finish(torch.from_numpy(features.astype(np.float32))[None], len(patches.stem.blocks))
        return float(patches.class_scores(output).softmax(1)[0, list(classes)].sum())


class TestFeatures:
    def test_the_classifier_sees_the_object(
        self,
        patches: HybridPatches,
        backgrounds: torch.Tensor,
        synthesis: Synthesis,
        tmp_path: Path,
    ) -> None:
        examples = {f"view {number}": (example(tmp_path, CAT), backgrounds[number]) for number in range(8)}

        made = synthesis.features(examples)

        assert made.keys() == examples.keys()
        assert all(array.shape == SHAPE and array.dtype == np.float16 for array in made.values())
        before = [probability(patches, features.numpy(), CAT) for _, features in examples.values()]
        after = [probability(patches, array, CAT) for array in made.values()]
        assert max(before) < 0.05
        assert min(after) > PROBABILITY[0] - 0.01  # float16

    def test_only_a_rectangle_changes(self, backgrounds: torch.Tensor, synthesis: Synthesis, tmp_path: Path) -> None:
        made = synthesis.features({str(number): (example(tmp_path, CAT), backgrounds[5]) for number in range(8)})

        kept = backgrounds[5].half().numpy()
        for features in made.values():
            changed = (features != kept).any(0)
            rows, columns = changed.any(1), changed.any(0)
            assert (changed == rows[:, None] & columns[None]).all()
            assert 5 <= rows.sum() <= 8
            assert 5 <= columns.sum() <= 8

    def test_the_object_takes_the_place_of_the_replaced_one(
        self,
        patches: HybridPatches,
        backgrounds: torch.Tensor,
        synthesis: Synthesis,
        tmp_path: Path,
    ) -> None:
        bus = synthesis.features({"bus": (example(tmp_path, BUS), backgrounds[5])})["bus"]

        features = {"cat": (example(tmp_path, CAT, replaced=BUS), torch.from_numpy(bus.astype(np.float32)))}
        cat = synthesis.features(features)["cat"]

        assert probability(patches, bus, BUS) > 0.29
        assert probability(patches, cat, BUS) < probability(patches, bus, BUS) / 2
        assert probability(patches, cat, CAT) > 0.29

    def test_they_depend_only_on_background_and_view(
        self, backgrounds: torch.Tensor, synthesis: Synthesis, tmp_path: Path
    ) -> None:
        given = example(tmp_path, CAT), backgrounds[5]
        alone, together = synthesis.features({"a": given}), synthesis.features({"b": given, "a": given})

        assert np.allclose(alone["a"], together["a"], atol=0.01)
        assert not np.allclose(together["a"], together["b"], atol=0.1)

    def test_an_object_that_the_classifier_does_not_see_in_the_end_is_left_out(
        self, backgrounds: torch.Tensor, synthesis: Synthesis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(of_synthesis, "MAX_STEPS", 1)

        assert synthesis.features({"a": (example(tmp_path, CAT), backgrounds[5])}) == {}
