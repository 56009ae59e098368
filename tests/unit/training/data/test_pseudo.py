"""Pseudo-captions: the labelling command, its file, and training on it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from captioning.preprocessing import Preprocessing
from tests.support.coco import read_coco, write_coco
from tests.support.models import tiny_model, tiny_tokenizer
from training import pseudo_label
from training.data import formats, pseudo
from training.data.dataset import ImageCaptionDataset
from training.data.images import DataError

HEAD = {"teacher": "sha256:1", "beams": 2, "max_length": 8}


def written(path: Path, captions: dict[int, str]) -> Path:
    path.write_text(json.dumps(HEAD) + "\n" + "".join(pseudo.line(*each, -1.0) for each in captions.items()))
    return path


class TestCommand:
    @pytest.fixture
    def arguments(self, tmp_path: Path) -> list[str]:
        captions, image_folder = write_coco(tmp_path, 6)
        teacher = tmp_path / "teacher"
        tiny_model().save_pretrained(teacher)
        tiny_tokenizer().save_pretrained(teacher)
        given: dict[str, object] = {
            "teacher": teacher,
            "captions": captions,
            "images": image_folder,
            "out": tmp_path / "pseudo.jsonl",
        }
        given |= {"beams": 2, "max-length": 8, "batch-size": 4, "precision": "fp32"}
        return [word for name, value in given.items() for word in (f"--{name}", str(value))]

    def test_each_image_gets_the_teacher_s_best_caption(
        self, arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        pseudo_label.main(arguments)

        head, captions = pseudo.read(tmp_path / "pseudo.jsonl")
        assert head["beams"] == 2 and head["teacher"].startswith("sha256:")
        assert sorted(captions) == list(range(100, 106))
        assert "captions of 6 images" in capsys.readouterr().out

    def test_ids_may_be_strings(self, arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        listing = json.loads((tmp_path / "captions.json").read_text())
        for kind, name in (("images", "id"), ("annotations", "image_id")):
            for entry in listing[kind]:
                entry[name] = f"n{entry[name]}"
        (tmp_path / "captions.json").write_text(json.dumps(listing))

        for _ in range(2):  # the second time, each of them has its caption
            pseudo_label.main(arguments)

        found = pseudo.for_training(
            [tmp_path / "pseudo.jsonl"], read_coco(tmp_path / "captions.json", tmp_path / "images"), 0
        )
        assert sorted(found) == [f"n{number}" for number in range(100, 106)]
        assert len((tmp_path / "pseudo.jsonl").read_text().splitlines()) == 7
        assert "captions of 6 images" in capsys.readouterr().out

    def test_a_data_set_of_unreadable_images_is_refused(
        self, arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for path in (tmp_path / "images").iterdir():
            path.unlink()

        with pytest.raises(SystemExit) as ended:
            pseudo_label.main(arguments)

        assert ended.value.code == 1
        assert "None of the 6 images can be read" in capsys.readouterr().err

    def test_labelling_resumes_after_an_incomplete_line(self, arguments: list[str], tmp_path: Path) -> None:
        out = tmp_path / "pseudo.jsonl"
        pseudo_label.main(arguments)
        whole = out.read_text()
        lines = whole.splitlines(keepends=True)
        out.write_text("".join(lines[:3]) + lines[3][:20])

        pseudo_label.main(arguments)

        assert sorted(out.read_text().splitlines()) == sorted(whole.splitlines())

    def test_a_file_of_another_search_is_refused(
        self, arguments: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        pseudo_label.main(arguments)

        with pytest.raises(SystemExit):
            pseudo_label.main([*arguments, "--beams", "3"])

        assert "were made with" in capsys.readouterr().err


class TestFile:
    def test_an_incomplete_last_line_is_ignored(self, tmp_path: Path) -> None:
        path = written(tmp_path / "p.jsonl", {1: "a dog", 2: "a cat"})
        path.write_text(path.read_text()[:-5])

        assert pseudo.read(path)[1] == {1: "a dog"}

    @pytest.mark.parametrize(
        "content",
        [
            "",
            "[]\n",
            "{}\n",
            "nonsense\n",
            json.dumps(HEAD) + '\n{"picture": 1}\n',
            json.dumps(HEAD) + '\n{"picture": null, "caption": "a dog"}\n',
        ],
    )
    def test_an_invalid_file_is_refused(self, tmp_path: Path, content: str) -> None:
        path = tmp_path / "p.jsonl"
        path.write_text(content)

        with pytest.raises(DataError, match=r"training\.pseudo_label"):
            pseudo.read(path)

    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"nowhere\.jsonl"):
            pseudo.read(tmp_path / "nowhere.jsonl")


class TestTraining:
    @pytest.fixture
    def images(self, tmp_path: Path) -> list[Any]:
        captions, image_folder = write_coco(tmp_path, 6)
        return list(formats.read([f"coco:{captions}:{image_folder}"]))

    def test_captions_with_low_cider_are_dropped(self, images: list[Any], tmp_path: Path) -> None:
        path = written(tmp_path / "p.jsonl", {100: "A red ball lies on field a.", 101: "nothing of the kind"})

        assert sorted(pseudo.for_training([path], images, 0.0)) == [100, 101]
        assert sorted(pseudo.for_training([path], images, 0.1)) == [100]

    def test_captions_of_other_images_only_are_refused(self, images: list[Any], tmp_path: Path) -> None:
        with pytest.raises(DataError, match="No pseudo-caption belongs"):
            pseudo.for_training([written(tmp_path / "p.jsonl", {7: "a dog"})], images, 0.0)

    @pytest.mark.parametrize(("fraction", "least", "most"), [(0.0, 0, 0), (0.5, 40, 80), (1.0, 120, 120)])
    def test_pseudo_captions_replace_their_fraction_of_the_captions(
        self, images: list[Any], fraction: float, least: int, most: int
    ) -> None:
        data = ImageCaptionDataset(
            images,
            tiny_tokenizer(),
            Preprocessing(32),
            pseudo={image.id: "dog" for image in images},
            pseudo_fraction=fraction,
        )
        theirs = 0
        for epoch in range(20):
            data.set_epoch(epoch)
            theirs += sum(len(data[index].captions[0]) == 3 for index in range(6))

        assert least <= theirs <= most

    def test_an_image_without_a_pseudo_caption_keeps_its_captions(self, images: list[Any]) -> None:
        without = ImageCaptionDataset(images, tiny_tokenizer(), Preprocessing(32), random_captions=True)
        data = ImageCaptionDataset(
            images,
            tiny_tokenizer(),
            Preprocessing(32),
            random_captions=True,
            pseudo={100: "dog"},
            pseudo_fraction=1.0,
        )

        assert data[1].captions == without[1].captions
        assert data[0].captions != without[0].captions
