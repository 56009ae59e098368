"""Samples depend only on seed, epoch and index, also when images are unreadable."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch.utils.data import DataLoader

from captioning.preprocessing import Preprocessing
from tests.support.coco import read_coco, write_coco
from tests.support.models import tiny_tokenizer
from training.data.dataset import Collate, ImageCaptionDataset, Sample
from training.data.images import DataError


@pytest.fixture
def coco(tmp_path: Path) -> tuple[Path, Path]:
    return write_coco(tmp_path)


def dataset(coco: tuple[Path, Path], **options: object) -> ImageCaptionDataset:
    return ImageCaptionDataset(read_coco(*coco), tiny_tokenizer(), Preprocessing(32), **options)  # type: ignore[arg-type]


class TestSamples:
    def test_a_caption_is_encoded_with_dec_and_sep(self, coco: tuple[Path, Path]) -> None:
        tokenizer = tiny_tokenizer()

        tokens = dataset(coco)[0].captions[0]

        assert (tokens[0], tokens[-1]) == (tokenizer.bos_token_id, tokenizer.sep_token_id)
        assert tokenizer.sep_token_id not in tokens[:-1]

    def test_pixels_equal_those_of_the_worker(self, coco: tuple[Path, Path]) -> None:
        from common.images.decoding import decode

        data = dataset(coco)
        image = data.images[0]

        expected = Preprocessing(32).pixels(decode(image.source.read(image.file_name), 10**8))

        assert np.array_equal(data[0].pixels, expected)

    def test_samples_depend_on_the_epoch(self, coco: tuple[Path, Path]) -> None:
        options = {"augment": True, "random_captions": True, "seed": 5}
        one, other = dataset(coco, **options), dataset(coco, **options, keep_in_memory=True)
        for each in (one, other):
            each.set_epoch(2)

        assert np.array_equal(one[1].pixels, other[1].pixels)
        assert one[1].captions == other[1].captions
        one.set_epoch(3)
        assert not np.array_equal(one[1].pixels, other[1].pixels)

    def test_images_with_left_or_right_in_a_caption_are_not_mirrored(self, tmp_path: Path) -> None:
        path, image_folder = write_coco(tmp_path, 1, captions=1)
        lit = Image.new("L", (64, 64))
        lit.paste(255, (32, 0, 64, 64))  # the right half
        lit.save(next(image_folder.iterdir()))

        def flips() -> int:
            data = dataset((path, image_folder), augment=True)
            flipped = 0
            for epoch in range(12):
                data.set_epoch(epoch)
                flipped += bool(data[0].pixels[..., :8].mean() > data[0].pixels[..., -8:].mean())
            return flipped

        assert 0 < flips() < 12
        path.write_text(path.read_text().replace("lies on", "lies left of"))
        assert flips() == 0


class TestUnreadable:
    @pytest.fixture
    def damaged(self, coco: tuple[Path, Path]) -> tuple[Path, Path]:
        """Of 8 images the last is torn."""
        path = sorted(coco[1].iterdir())[-1]
        path.write_bytes(path.read_bytes()[:300])
        return coco

    @pytest.fixture
    def log_file(self, tmp_path: Path) -> Iterator[Path]:
        """The log of this process and of the loader's, which no fixture of pytest sees."""
        handler = logging.FileHandler(tmp_path / "log")
        logging.getLogger("training.data.dataset").addHandler(handler)
        yield tmp_path / "log"
        logging.getLogger("training.data.dataset").removeHandler(handler)
        handler.close()

    def test_the_next_readable_image_replaces_an_unreadable_one(self, damaged: tuple[Path, Path]) -> None:
        data = dataset(damaged)

        assert np.array_equal(data[7].pixels, data[0].pixels)
        assert data[7].captions == data[0].captions

    @pytest.mark.parametrize("workers", [0, 2])
    def test_an_unreadable_image_is_logged_once_by_all_processes(
        self, damaged: tuple[Path, Path], workers: int, log_file: Path
    ) -> None:
        loader: DataLoader[Sample] = DataLoader(dataset(damaged), num_workers=workers, collate_fn=Collate(0))

        batches = [batch.pixels for _ in range(3) for batch in loader]

        assert len(batches) == 24
        assert log_file.read_text().count("000000000107.jpg") == 1

    def test_unreadable_images_in_a_row_raise_an_error(self, coco: tuple[Path, Path]) -> None:
        for path in coco[1].iterdir():
            path.unlink()

        with pytest.raises(DataError, match=r"8 images in a row cannot be read, starting with 000000000102\.jpg"):
            dataset(coco)[2]


class TestCollate:
    def test_an_image_with_several_captions_is_in_the_batch_once(self, coco: tuple[Path, Path]) -> None:
        data = dataset(coco, captions_per_image=2)

        batch = Collate(0)([data[0], data[1]])

        assert batch.pixels.shape == (2, 3, 32, 32)
        assert batch.owner.tolist() == [0, 0, 1, 1]
        assert len(batch.tokens) == 4
        assert batch.indices == (0, 1)

    def test_short_captions_are_padded_at_the_end(self, coco: tuple[Path, Path]) -> None:
        samples = [dataset(coco)[0], dataset(coco)[1]]
        samples[0].captions[0][3:] = []

        tokens = Collate(0)(samples).tokens

        assert tokens[0, 3:].eq(0).all()
        assert tokens[1].ne(0).all()
