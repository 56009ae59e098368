"""A stem sees what the published model sees, whichever of torch's ways it is computed in."""

from __future__ import annotations

import random
from pathlib import Path

import matplotlib
import pytest
import torch
from PIL import Image, ImageDraw
from torch import nn

from captioning.preprocessing import Preprocessing
from captioning.student.stem import BATCH_NORM_EPSILON, MEAN, STD, Convolution, Stem, fold_published
from training.stem import published

NAME = "efficientnet-lite2"
#: The side that the published weights were trained on, and numbers of ImageNet's classes.
SIDE = 260
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
    image = Image.new("RGB", (SIDE, SIDE), "white")
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 90, SIDE, 170), fill="gold")
    for x in range(0, SIDE, 5):
        draw.line((x, 90, x, 105 if x % 25 else 120), fill="black")
    return image


def crossword_puzzle() -> Image.Image:
    image, chance = Image.new("RGB", (SIDE, SIDE), "white"), random.Random(0)
    draw = ImageDraw.Draw(image)
    for place in range(13 * 13):
        x, y = 20 * (place // 13), 20 * (place % 13)
        draw.rectangle((x, y, x + 20, y + 20), fill="black" if chance.random() < 0.25 else "white", outline="black")
    return image


def grace_hopper() -> Image.Image:
    """A portrait in naval uniform, which matplotlib brings."""
    return Image.open(Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg").convert("RGB")


@torch.no_grad()
def seen(stem: Stem, weights: dict[str, torch.Tensor], image: Image.Image) -> tuple[int, float]:
    """The class that the published classifier finds likeliest, and its probability."""
    pixels = torch.from_numpy(Preprocessing(SIDE, MEAN, STD).pixels(image))[None]
    logits = stem(pixels).mean(dim=(2, 3)) @ weights["_fc.weight"].T + weights["_fc.bias"]
    best = logits.softmax(dim=1)[0].max(dim=0)
    return int(best.indices), float(best.values)


class TestPublishedWeights:
    def test_the_classifier_knows_what_is_drawn(self, stem: Stem, weights: dict[str, torch.Tensor]) -> None:
        for image, expected, probability in ((ruler(), RULER, 0.87), (crossword_puzzle(), CROSSWORD_PUZZLE, 0.70)):
            found, sure = seen(stem, weights, image)
            assert found == expected
            assert sure == pytest.approx(probability, abs=0.02)

    def test_the_classifier_knows_what_is_photographed(self, stem: Stem, weights: dict[str, torch.Tensor]) -> None:
        assert seen(stem, weights, grace_hopper())[0] == MILITARY_UNIFORM

    def test_float16_on_disk_changes_nothing_that_counts(self, stem: Stem, weights: dict[str, torch.Tensor]) -> None:
        rounded = Stem(NAME)
        rounded.load_state_dict({key: weight.half() for key, weight in stem.state_dict().items()})

        assert seen(rounded, weights, ruler())[1] == pytest.approx(seen(stem, weights, ruler())[1], abs=0.01)


class TestConvolution:
    @pytest.mark.parametrize("side", [7, 8])
    @pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (5, 1), (3, 2), (5, 2)])
    def test_fused_or_not_it_gives_the_same_of_tensorflow_s_size(self, kernel: int, stride: int, side: int) -> None:
        torch.manual_seed(0)
        convolution = Convolution(4, 4, kernel, stride, groups=4, relu=True)
        states = 5 * torch.randn(2, 4, side, side)

        one_after_the_other = convolution(states)
        with torch.no_grad():
            fused = convolution(states)

        assert torch.allclose(fused, one_after_the_other.detach(), atol=1e-5)
        assert fused.shape[-1] == -(-side // stride)

    @pytest.mark.parametrize(("side", "zeros"), [(8, (0, 1)), (7, (1, 1))])
    def test_of_an_odd_number_of_zeros_the_last_stands_behind(self, side: int, zeros: tuple[int, int]) -> None:
        convolution, states = Convolution(2, 3, 3, 2, relu=False), torch.randn(1, 2, side, side)

        expected = nn.functional.conv2d(
            nn.functional.pad(states, (*zeros, *zeros)), convolution.weight, convolution.bias, stride=2
        )

        assert torch.allclose(convolution(states), expected, atol=1e-6)

    def test_a_folded_batch_norm_is_what_the_batch_norm_was(self) -> None:
        torch.manual_seed(0)
        norm = nn.BatchNorm2d(32, eps=BATCH_NORM_EPSILON).eval()
        state = norm.state_dict()
        for name in ("weight", "bias", "running_mean", "running_var"):
            state[name].uniform_(0.5, 2)  # the norm's own
        weight = torch.randn(32, 3, 3, 3)
        layer = {f"_bn0.{key}": value for key, value in state.items()}
        folded = fold_published({"_conv_stem.weight": weight, **layer})
        pixels = torch.randn(1, 3, 9, 9)

        found = nn.functional.conv2d(pixels, folded["first.weight"], folded["first.bias"])

        assert torch.allclose(found, norm(nn.functional.conv2d(pixels, weight)), atol=1e-4)


def test_a_stem_goes_on_from_what_its_first_blocks_made() -> None:
    torch.manual_seed(0)
    stem, pixels = Stem(NAME), torch.randn(1, 3, 64, 64)

    with torch.no_grad():
        for blocks in (0, stem.last_stride, len(stem.blocks)):
            assert torch.allclose(stem.rest(stem.begin(pixels, blocks), blocks), stem(pixels), atol=1e-5)
    assert stem(pixels).shape == (1, 1280, 2, 2)
