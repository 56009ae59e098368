"""COCO's layout is read as it is, and a sample depends on seed, epoch and index only."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.coco import packed, write_coco
from tests.support.models import tiny_tokenizer
from training.data import Collate, DataError, ImageCaptionDataset, ImageSource, limited, read_coco, split


@pytest.fixture
def coco(tmp_path: Path) -> tuple[Path, Path]:
    return write_coco(tmp_path)


def dataset(coco: tuple[Path, Path], **options: object) -> ImageCaptionDataset:
    return ImageCaptionDataset(read_coco([coco[0]], [coco[1]]), tiny_tokenizer(), 32, **options)  # type: ignore[arg-type]


class TestReading:
    def test_each_picture_comes_with_its_captions(self, coco: tuple[Path, Path]) -> None:
        pictures = read_coco([coco[0]], [coco[1]])

        assert [picture.id for picture in pictures] == list(range(100, 108))
        assert pictures[0].captions == ("A red ball lies on field a.", "A red ball lies on field b.")

    def test_a_tar_holds_the_same_pictures_as_its_folder(self, coco: tuple[Path, Path]) -> None:
        folder, tar = ImageSource(coco[1]), ImageSource(packed(coco[1]))

        for path in coco[1].iterdir():
            assert tar.read(path.name) == folder.read(path.name)

    def test_several_sets_follow_one_another(self, tmp_path: Path) -> None:
        first, second = write_coco(tmp_path / "a", 2), write_coco(tmp_path / "b", 3, first_id=900)

        pictures = read_coco([first[0], second[0]], [first[1], second[1]])

        assert [picture.id for picture in pictures] == [100, 101, 900, 901, 902]

    def test_a_picture_without_a_caption_is_left_out(self, coco: tuple[Path, Path]) -> None:
        listing = json.loads(coco[0].read_text())
        listing["annotations"] = listing["annotations"][2:]
        coco[0].write_text(json.dumps(listing))

        assert len(read_coco([coco[0]], [coco[1]])) == 7


class TestErrors:
    def test_two_sets_with_the_same_ids_are_refused(self, tmp_path: Path) -> None:
        first, second = write_coco(tmp_path / "a", 2), write_coco(tmp_path / "b", 2)

        with pytest.raises(DataError, match="numbers its pictures"):
            read_coco([first[0], second[0]], [first[1], second[1]])

    def test_a_missing_caption_file_is_named(self, coco: tuple[Path, Path]) -> None:
        with pytest.raises(DataError, match=r"no caption file .*nowhere\.json"):
            read_coco([coco[0].with_name("nowhere.json")], [coco[1]])

    @pytest.mark.parametrize("content", ["{", "[]", '{"images": []}', '{"images": [{}], "annotations": [{}]}'])
    def test_another_kind_of_file_is_refused(self, coco: tuple[Path, Path], content: str) -> None:
        coco[0].write_text(content)

        with pytest.raises(DataError, match="COCO's layout"):
            read_coco([coco[0]], [coco[1]])

    def test_pictures_that_are_nowhere_are_said(self, coco: tuple[Path, Path]) -> None:
        with pytest.raises(DataError, match="neither a folder nor a tar"):
            read_coco([coco[0]], [coco[1] / "nowhere"])

    def test_a_file_that_is_no_tar_is_refused(self, coco: tuple[Path, Path]) -> None:
        with pytest.raises(DataError, match="no uncompressed tar"):
            read_coco([coco[0]], [coco[0]])

    @pytest.mark.parametrize("pack", [False, True])
    def test_a_picture_that_is_missing_is_named(self, coco: tuple[Path, Path], pack: bool) -> None:
        source = ImageSource(packed(coco[1]) if pack else coco[1])

        with pytest.raises(DataError, match=r"no picture lost\.jpg"):
            source.read("lost.jpg")


class TestChoosing:
    def test_the_split_is_by_picture_seeded_and_whole(self, coco: tuple[Path, Path]) -> None:
        pictures = read_coco([coco[0]], [coco[1]])

        train, val = split(pictures, 0.75, seed=3)

        assert (len(train), len(val)) == (6, 2)
        assert {picture.id for picture in train + val} == {picture.id for picture in pictures}
        assert split(pictures, 0.75, seed=3) == (train, val)
        assert split(pictures, 0.75, seed=4) != (train, val)

    def test_a_limit_draws_with_the_seed(self, coco: tuple[Path, Path]) -> None:
        pictures = read_coco([coco[0]], [coco[1]])

        assert len(limited(pictures, 3, seed=1)) == 3
        assert limited(pictures, 3, seed=1) == limited(pictures, 3, seed=1)
        assert limited(pictures, 0, seed=1) == limited(pictures, 99, seed=1) == pictures


class TestSamples:
    def test_a_caption_begins_as_generation_does_and_ends_with_sep(self, coco: tuple[Path, Path]) -> None:
        tokenizer = tiny_tokenizer()

        tokens = dataset(coco)[0].captions[0]

        assert (tokens[0], tokens[-1]) == (tokenizer.bos_token_id, tokenizer.sep_token_id)
        assert tokenizer.sep_token_id not in tokens[:-1]

    def test_pixels_are_what_the_worker_makes_of_the_picture(self, coco: tuple[Path, Path]) -> None:
        from common.images import decode
        from common.pixels import to_pixels

        data = dataset(coco)
        picture = data.pictures[0]

        expected = to_pixels(decode(picture.source.read(picture.file_name), 10**8), 32)

        assert np.array_equal(data[0].pixels, expected)

    def test_the_same_epoch_gives_the_same_sample_and_another_gives_another(self, coco: tuple[Path, Path]) -> None:
        options = {"augment": True, "random_captions": True, "seed": 5}
        one, other = dataset(coco, **options), dataset(coco, **options, keep_in_memory=True)
        for each in (one, other):
            each.set_epoch(2)

        assert np.array_equal(one[1].pixels, other[1].pixels)
        assert np.array_equal(one[1].pixels, other[1].pixels)  # now out of memory
        assert one[1].captions == other[1].captions
        one.set_epoch(3)
        assert not np.array_equal(one[1].pixels, other[1].pixels)

    def test_a_caption_that_says_left_or_right_keeps_its_side(self, tmp_path: Path) -> None:
        path, images = write_coco(tmp_path, 1, captions=1)
        lit = Image.new("L", (64, 64))
        lit.paste(255, (32, 0, 64, 64))  # the right half
        lit.save(next(images.iterdir()))

        def flips() -> int:
            data = dataset((path, images), augment=True)
            flipped = 0
            for epoch in range(12):
                data.set_epoch(epoch)
                flipped += bool(data[0].pixels[..., :8].mean() > data[0].pixels[..., -8:].mean())
            return flipped

        assert 0 < flips() < 12
        path.write_text(path.read_text().replace("lies on", "lies left of"))
        assert flips() == 0


class TestCollate:
    def test_a_picture_with_several_captions_is_there_once(self, coco: tuple[Path, Path]) -> None:
        data = dataset(coco, captions_per_image=2)

        batch = Collate(0)([data[0], data[1]])

        assert batch.pixels.shape == (2, 3, 32, 32)
        assert batch.owner.tolist() == [0, 0, 1, 1]
        assert len(batch.tokens) == 4

    def test_shorter_captions_are_padded_at_the_end(self, coco: tuple[Path, Path]) -> None:
        samples = [dataset(coco)[0], dataset(coco)[1]]
        samples[0].captions[0][3:] = []

        tokens = Collate(0)(samples).tokens

        assert tokens[0, 3:].eq(0).all()
        assert tokens[1].ne(0).all()
