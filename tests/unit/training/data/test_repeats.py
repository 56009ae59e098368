"""An epoch shows images as often as asked, and those with rare words more often."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from training.data.images import CaptionedImage, ImageSource
from training.data.repeats import repeated

#: 64 images of dogs, 16 of cats, and one of a rocket, which is too rare to be learnt from. One person of three takes 16
#: of the dogs for yaks.
THINGS = ["dog"] * 64 + ["cat"] * 16 + ["rocket"]


def images(folder: Path) -> list[CaptionedImage]:
    source = ImageSource(folder)
    return [
        CaptionedImage(
            number, f"{number}.jpg", source, (f"A {thing}.", f"One {thing}", "yak" if number < 16 else f"the {thing}")
        )
        for number, thing in enumerate(THINGS)
    ]


def shown(images: list[CaptionedImage], *, repeats: int = 1, rare_words: int = 64, seed: int = 0) -> Counter[str]:
    """The number of times that each thing's images are shown."""
    counts = repeated(images, {image.id: repeats for image in images}, rare_words, seed)
    return Counter(THINGS[int(image.id)] for image in counts)


def test_without_rare_words_each_image_is_shown_as_often_as_its_data_set_asks(tmp_path: Path) -> None:
    assert shown(images(tmp_path), repeats=3, rare_words=0) == {"dog": 3 * 64, "cat": 3 * 16, "rocket": 3}


def test_images_with_a_rare_word_in_most_captions_are_shown_more_often(tmp_path: Path) -> None:
    assert shown(images(tmp_path)) == {"dog": 64, "cat": 2 * 16, "rocket": 1}
    assert shown(images(tmp_path), repeats=3) == {"dog": 3 * 64, "cat": 6 * 16, "rocket": 3}


def test_fractions_are_rounded_at_random_but_repeatably(tmp_path: Path) -> None:
    cats = images(tmp_path)[64:80]
    once, again, otherwise = (repeated(cats, {cat.id: 1 for cat in cats}, 36, seed) for seed in (0, 0, 1))

    assert Counter(Counter(cat.id for cat in once).values()).keys() == {1, 2}  # 1.5 times
    assert [cat.id for cat in once] == [cat.id for cat in again] != [cat.id for cat in otherwise]
