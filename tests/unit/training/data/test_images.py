"""Images are read from folders and tars, sampled with a seed, and compared between data sets."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.coco import packed, read_coco, write_coco
from training.data.images import (
    CaptionedImage,
    DataError,
    ImageSource,
    UnreadableImage,
    checked_id,
    limited,
    readable,
    split,
    warn_of_overlap,
)


@pytest.fixture
def coco(tmp_path: Path) -> tuple[Path, Path]:
    return write_coco(tmp_path)


class TestSource:
    def test_a_tar_gives_the_same_images_as_its_folder(self, coco: tuple[Path, Path]) -> None:
        folder, tar = ImageSource(coco[1]), ImageSource(packed(coco[1]))

        for path in coco[1].iterdir():
            assert tar.read(path.name) == tar.read(f"images/{path.name}") == folder.read(path.name)
            assert tar.size(path.name) == folder.size(path.name) == path.stat().st_size
        assert tar.names() == [f"images/{name}" for name in folder.names()]

    def test_a_missing_path_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="no folder or tar"):
            ImageSource(tmp_path / "nowhere")

    def test_a_file_that_is_not_a_tar_is_refused(self, coco: tuple[Path, Path]) -> None:
        with pytest.raises(DataError, match="not an uncompressed tar"):
            ImageSource(coco[0])

    @pytest.mark.parametrize("pack", [False, True])
    def test_file_names_may_contain_backslashes(self, coco: tuple[Path, Path], pack: bool) -> None:
        source = ImageSource(packed(coco[1]) if pack else coco[1].parent)

        assert source.read("images\\000000000100.jpg") == (coco[1] / "000000000100.jpg").read_bytes()

    @pytest.mark.parametrize("pack", [False, True])
    def test_a_missing_image_is_named(self, coco: tuple[Path, Path], pack: bool) -> None:
        source = ImageSource(packed(coco[1]) if pack else coco[1])

        with pytest.raises(DataError, match=r"no image lost\.jpg"):
            source.read("lost.jpg")


class TestIds:
    @pytest.mark.parametrize(("value", "id"), [(5, 5), ("5", "5"), (5.0, 5), ("a/b", "a/b")])
    def test_integers_and_strings_are_ids(self, value: object, id: object) -> None:
        assert repr(checked_id(value)) == repr(id)

    @pytest.mark.parametrize("value", [None, True, 1.5, "", [], {}, float("nan")])
    def test_other_ids_are_refused(self, value: object) -> None:
        with pytest.raises(ValueError, match="is not an id: it must be an integer or a string"):
            checked_id(value)


class TestReading:
    @pytest.mark.parametrize("damage", [lambda path: path.write_bytes(path.read_bytes()[:300]), Path.unlink])
    def test_an_unreadable_image_is_logged_once_and_skipped(
        self, coco: tuple[Path, Path], damage: object, caplog: pytest.LogCaptureFixture
    ) -> None:
        images = read_coco(*coco)
        damage(coco[1] / images[3].file_name)  # type: ignore[operator]

        twice = [[image.id for image, _ in readable(images)] for _ in range(2)]

        assert twice == [[100, 101, 102, 104, 105, 106, 107]] * 2
        assert len([record for record in caplog.records if images[3].file_name in record.message]) == 1
        with pytest.raises(UnreadableImage, match=r"is skipped: "):
            images[3].load()


class TestSampling:
    def test_the_split_is_seeded_and_disjoint(self, coco: tuple[Path, Path]) -> None:
        images = read_coco(*coco)

        train, val = split(images, 0.75, seed=3)

        assert (len(train), len(val)) == (6, 2)
        assert {image.id for image in train + val} == {image.id for image in images}
        assert split(images, 0.75, seed=3) == (train, val)
        assert split(images, 0.75, seed=4) != (train, val)

    def test_a_limit_samples_with_the_seed(self, coco: tuple[Path, Path]) -> None:
        images = read_coco(*coco)

        assert len(limited(images, 3, seed=1)) == 3
        assert limited(images, 3, seed=1) == limited(images, 3, seed=1)
        assert limited(images, 0, seed=1) == limited(images, 99, seed=1) == images


class TestOverlap:
    @pytest.fixture
    def images(self, coco: tuple[Path, Path]) -> list[CaptionedImage]:
        return read_coco(*coco)

    def test_distinct_images_give_no_warning(
        self, images: list[CaptionedImage], caplog: pytest.LogCaptureFixture
    ) -> None:
        assert warn_of_overlap(images[:4], images[4:]) == []
        assert not caplog.records

    def test_distinct_images_with_equal_ids_give_no_warning(self, images: list[CaptionedImage], tmp_path: Path) -> None:
        others = read_coco(*write_coco(tmp_path / "others", 2))
        (tmp_path / "others" / "images" / others[0].file_name).write_bytes(b"another image")
        counted_alike = replace(others[0], captions=("Something else.",))

        assert counted_alike.id == images[0].id
        assert warn_of_overlap([counted_alike], images) == []

    def test_images_with_equal_ids_and_captions_overlap(
        self, images: list[CaptionedImage], caplog: pytest.LogCaptureFixture
    ) -> None:
        known = replace(images[0], file_name="other.jpg")

        assert warn_of_overlap([known], images) == [images[0]]
        assert "1 of the 8 validation images are also training images (000000000100.jpg)" in caplog.text

    def test_images_with_equal_file_names_and_captions_overlap(self, images: list[CaptionedImage]) -> None:
        known = replace(images[0], id=7, file_name=f"train/{images[0].file_name}")

        assert warn_of_overlap([known], images) == [images[0]]

    def test_equal_files_with_different_names_overlap(
        self, images: list[CaptionedImage], tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.WARNING)
        (tmp_path / "copies").mkdir()
        (tmp_path / "copies" / "copy.jpg").write_bytes(images[5].source.read(images[5].file_name))
        copy = CaptionedImage(1, "copy.jpg", ImageSource(tmp_path / "copies"), ("a ball",))
        lost = replace(copy, id=2, file_name="lost.jpg")

        assert warn_of_overlap([copy, lost], images) == [images[5]]
