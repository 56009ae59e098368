"""A stem computes the published model's features, fused and unfused."""

from __future__ import annotations

import random
from pathlib import Path

import matplotlib
import pytest
import torch
from PIL import Image, ImageDraw
from torch import nn

from captioning.preprocessing import Preprocessing
from captioning.student.stem import BATCH_NORM_EPSILON, MEAN, STD, Convolution, HybridPatches, Stem, fold_published
from training.stem import published

NAME = "efficientnet-lite2"
#: Image size in pixels that the published weights were trained with, and indices of ImageNet classes.
IMAGE_SIZE = 260
RULER, CROSSWORD_PUZZLE, MILITARY_UNIFORM = 769, 918, 652


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    return published(NAME)


@pytest.fixture(scope="module")
def stem(weights: dict[str, torch.Tensor]) -> Stem:
    stem = Stem(NAME)
    stem.load_state_dict(fold_published(weights))
    return stem.eval()


def ruler() -> Image.Image:
    image = Image.new("RGB", (IMAGE_SIZE, IMAGE_SIZE), "white")
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 90, IMAGE_SIZE, 170), fill="gold")
    for x in range(0, IMAGE_SIZE, 5):
        draw.line((x, 90, x, 105 if x % 25 else 120), fill="black")
    return image


def crossword_puzzle() -> Image.Image:
    image, rng = Image.new("RGB", (IMAGE_SIZE, IMAGE_SIZE), "white"), random.Random(0)
    draw = ImageDraw.Draw(image)
    for cell in range(13 * 13):
        x, y = 20 * (cell // 13), 20 * (cell % 13)
        draw.rectangle((x, y, x + 20, y + 20), fill="black" if rng.random() < 0.25 else "white", outline="black")
    return image


def grace_hopper() -> Image.Image:
    """Return matplotlib's sample portrait of a person in naval uniform."""
    return Image.open(Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg").convert("RGB")


@torch.no_grad()
def classify(stem: Stem, weights: dict[str, torch.Tensor], image: Image.Image) -> tuple[int, float]:
    """Return the published classifier's most probable class, and its probability."""
    pixels = torch.from_numpy(Preprocessing(IMAGE_SIZE, MEAN, STD).pixels(image))[None]
    logits = stem(pixels).mean(dim=(2, 3)) @ weights["_fc.weight"].T + weights["_fc.bias"]
    best = logits.softmax(dim=1)[0].max(dim=0)
    return int(best.indices), float(best.values)


class TestPublishedWeights:
    def test_drawings_are_classified_correctly(self, stem: Stem, weights: dict[str, torch.Tensor]) -> None:
        for image, expected, probability in ((ruler(), RULER, 0.87), (crossword_puzzle(), CROSSWORD_PUZZLE, 0.70)):
            actual, confidence = classify(stem, weights, image)
            assert actual == expected
            assert confidence == pytest.approx(probability, abs=0.02)

    def test_a_photograph_is_classified_correctly(self, stem: Stem, weights: dict[str, torch.Tensor]) -> None:
        assert classify(stem, weights, grace_hopper())[0] == MILITARY_UNIFORM

    def test_float16_weights_keep_the_probability(self, stem: Stem, weights: dict[str, torch.Tensor]) -> None:
        rounded = Stem(NAME)
        rounded.load_state_dict({key: weight.half() for key, weight in stem.state_dict().items()})

        assert classify(rounded, weights, ruler())[1] == pytest.approx(classify(stem, weights, ruler())[1], abs=0.01)


class TestConvolution:
    @pytest.mark.parametrize("side", [7, 8])
    @pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (5, 1), (3, 2), (5, 2)])
    def test_the_fused_convolution_equals_the_unfused_one(self, kernel: int, stride: int, side: int) -> None:
        torch.manual_seed(0)
        convolution = Convolution(4, 4, kernel, stride, groups=4, relu=True)
        states = 5 * torch.randn(2, 4, side, side)

        unfused = convolution(states)
        with torch.no_grad():
            fused = convolution(states)

        assert torch.allclose(fused, unfused.detach(), atol=1e-5)
        assert fused.shape[-1] == -(-side // stride)

    @pytest.mark.parametrize(("side", "zeros"), [(8, (0, 1)), (7, (1, 1))])
    def test_an_odd_padding_is_added_right_and_below(self, side: int, zeros: tuple[int, int]) -> None:
        convolution, states = Convolution(2, 3, 3, 2, relu=False), torch.randn(1, 2, side, side)

        expected = nn.functional.conv2d(
            nn.functional.pad(states, (*zeros, *zeros)), convolution.weight, convolution.bias, stride=2
        )

        assert torch.allclose(convolution(states), expected, atol=1e-6)

    def test_a_folded_batch_norm_equals_the_batch_norm(self) -> None:
        torch.manual_seed(0)
        norm = nn.BatchNorm2d(32, eps=BATCH_NORM_EPSILON).eval()
        state = norm.state_dict()
        for name in ("weight", "bias", "running_mean", "running_var"):
            state[name].uniform_(0.5, 2)
        weight = torch.randn(32, 3, 3, 3)
        layer = {f"_bn0.{key}": value for key, value in state.items()}
        folded = fold_published({"_conv_stem.weight": weight, **layer})
        pixels = torch.randn(1, 3, 9, 9)

        actual = nn.functional.conv2d(pixels, folded["first.weight"], folded["first.bias"])

        assert torch.allclose(actual, norm(nn.functional.conv2d(pixels, weight)), atol=1e-4)


def test_start_and_finish_together_equal_the_forward_pass() -> None:
    torch.manual_seed(0)
    stem, pixels = Stem(NAME), torch.randn(1, 3, 64, 64)

    with torch.no_grad():
        for blocks in (0, stem.last_stride, len(stem.blocks)):
            assert torch.allclose(stem.finish(stem.start(pixels, blocks), blocks), stem(pixels), atol=1e-5)
    assert stem(pixels).shape == (1, 1280, 2, 2)


class TestHybridPatches:
    def test_each_patch_has_the_embeddings_of_the_image_s_classes(self, weights: dict[str, torch.Tensor]) -> None:
        patches = HybridPatches(NAME, 16).eval()
        patches.stem.load_state_dict(fold_published(weights))
        patches.classifier.load_state_dict({"weight": weights["_fc.weight"], "bias": weights["_fc.bias"]})
        pixels = torch.from_numpy(Preprocessing(IMAGE_SIZE, MEAN, STD).pixels(ruler()))[None]

        with torch.no_grad():
            before = patches(pixels)
            patches.class_embedding.weight[:, RULER] += 1
            change = patches(pixels) - before

        assert change.shape == (1, 16, 9, 9)
        assert torch.allclose(change, torch.full_like(change, 0.87 * 4), atol=0.1)  # sqrt(16) times the probability

    def test_training_hides_all_but_the_classes_of_some_images(self) -> None:
        torch.manual_seed(0)
        patches = HybridPatches(NAME, 16)
        patches.classes_only = 0.5
        pixels = torch.randn(1, 3, 64, 64).expand(32, -1, -1, -1)

        with torch.no_grad():
            trained, served = patches.train()(pixels), patches.eval()(pixels)

        hidden = (trained.flatten(2).std(2) < 1e-6).all(1)  # every patch is the same
        assert 8 < hidden.sum() < 24
        assert torch.allclose(trained[~hidden], served[~hidden], atol=1e-5)
