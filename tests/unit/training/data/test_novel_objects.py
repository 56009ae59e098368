"""Objects that captions rarely name get examples: sentences, a background, and their classes of ImageNet."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest

from training.data import novel_objects as of_novel
from training.data.images import CaptionedImage, ImageSource, UnreadableImage
from training.data.novel_objects import FILE, NovelObject, novel_objects

BEARS, DOGS = set(range(294, 298)), set(range(151, 269))


@pytest.fixture
def source(tmp_path: Path) -> ImageSource:
    return ImageSource(tmp_path)


def images(source: ImageSource, *captions: Sequence[str]) -> list[CaptionedImage]:
    return [CaptionedImage(number, f"{number}.jpg", source, tuple(each)) for number, each in enumerate(captions)]


def of(examples: list[NovelObject], name: str) -> list[NovelObject]:
    return [example for example in examples if str(example.id).startswith(f"novel object {name} ")]


class TestObjects:
    def test_an_object_that_few_images_name_has_as_many_examples_as_asked(self, source: ImageSource) -> None:
        examples = novel_objects(images(source, ["People walk on a field."]), 5)

        assert len(of(examples, "bear")) == 5
        assert all(set(example.classes) == BEARS for example in of(examples, "bear"))
        assert len({example.id for example in examples}) == len(examples)

    def test_an_object_that_enough_images_name_has_none(
        self, source: ImageSource, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(of_novel, "ENOUGH_IMAGES", 2)
        named = images(
            source, ["Two cows in the grass.", "a COW on a field"], ["A cow on a field."], ["A tiger in snow."]
        )

        examples = novel_objects([*named, *named], 1)

        assert not of(examples, "cow")
        assert len(of(examples, "tiger")) == 1  # images that occur twice count once

    def test_an_object_whose_place_no_image_shows_has_none(self, source: ImageSource) -> None:
        examples = novel_objects(images(source, ["A cup on a table."]), 2)

        assert len(of(examples, "teapot")) == 2
        assert not of(examples, "owl")

    def test_without_a_count_there_are_none(self, source: ImageSource) -> None:
        assert novel_objects(images(source, ["A dog in the grass."]), 0) == []


class TestExamples:
    def test_sentences_name_the_object_with_its_article(self, source: ImageSource) -> None:
        examples = novel_objects(images(source, ["A plate on a table."], ["A field."]), 3)

        assert all(" cup " in f"{text} " and "a cup" in text for each in of(examples, "cup") for text in each.captions)
        assert all("an owl" in text for example in of(examples, "owl") for text in example.captions)
        assert all(len(set(example.captions)) == 3 for example in of(examples, "owl"))

    def test_the_background_shows_the_place(self, source: ImageSource) -> None:
        table, field = images(source, ["A plate on a table."], ["Children on a field."])

        examples = novel_objects([table, field], 3)

        assert {example.background for example in of(examples, "cup")} == {table}
        assert {example.background for example in of(examples, "owl")} == {field}
        assert all(example.replaced == () for example in examples)

    def test_every_second_animal_takes_the_place_of_a_dog(self, source: ImageSource) -> None:
        field, dog = images(
            source, ["A wide field."], ["A brown dog runs.", "The dog runs.", "A dog!", "An animal runs in the sun."]
        )

        at_field, for_dog = of(novel_objects([field, dog], 2), "owl")

        assert (at_field.background, at_field.replaced) == (field, ())
        assert (for_dog.background, set(for_dog.replaced)) == (dog, DOGS)
        assert for_dog.captions == ("A brown owl runs.", "an owl runs.", "an owl!")

    @pytest.mark.parametrize(
        "captions",
        [
            ["A dog in the grass.", "Dogs in the grass."],
            ["A dog and a dog in the grass."],
            ["A dog.", "Grass.", "A pet."],
        ],
    )
    def test_a_background_of_several_dogs_or_of_one_that_few_saw_keeps_its_dogs(
        self, source: ImageSource, captions: list[str]
    ) -> None:
        examples = novel_objects(images(source, captions, ["A wide field."]), 4)

        assert all(example.replaced == () for example in examples)

    def test_examples_depend_only_on_the_images(self, source: ImageSource) -> None:
        one, two, three = (
            images(source, ["A wide field."], [text]) for text in ("Deep snow.", "Deep snow.", "Children.")
        )

        assert novel_objects(one, 2) == novel_objects(two, 2)
        assert {each.background.id for each in novel_objects(three, 2)} == {0}

    def test_more_examples_contain_the_fewer(self, source: ImageSource) -> None:
        given = images(source, ["A wide field."], ["Deep snow."])

        assert {each.id for each in novel_objects(given, 2)} < {each.id for each in novel_objects(given, 4)}

    def test_an_example_has_no_pixels(self, source: ImageSource) -> None:
        example, *_ = novel_objects(images(source, ["A wide field."]), 1)

        with pytest.raises(UnreadableImage, match=r"novel object horse 0 .* has no pixels"):
            example.load()


class TestFile:
    content = tomllib.loads(FILE.read_text(encoding="utf-8"))

    def test_no_class_shows_two_objects(self) -> None:
        classes = [
            number for entry in self.content["objects"].values() for number in of_novel._classes(entry["classes"])
        ]

        assert len(set(classes)) == len(classes)
        assert all(0 <= number < 1000 for number in classes)

    def test_every_sentence_names_its_object_once(self) -> None:
        for place in self.content["places"].values():
            assert all(text.count("{}") == 1 for text in place["sentences"])

    def test_every_object_has_a_place(self) -> None:
        assert {entry["place"] for entry in self.content["objects"].values()} == self.content["places"].keys()
