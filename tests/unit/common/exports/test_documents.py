"""COCO captions, read by pycocotools, and the import format of Label Studio."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from pycocotools.coco import COCO

from common.exports import documents
from common.jobs import Job, Translation
from tests.unit.common.exports.batch import captioned, export, failed


def load(content: bytes, folder: Path) -> COCO:
    path = folder / "captions.json"
    path.write_bytes(content)
    return COCO(str(path))


class TestCoco:
    def test_pycocotools_loads_images_and_captions(self, tmp_path: Path) -> None:
        jobs = [captioned("a/ä.jpg", "a dog"), failed("bad.jpg"), captioned("b.jpg", "a cat", edited="my cat")]

        coco = load(export("coco", jobs), tmp_path)

        images = coco.loadImgs(coco.getImgIds())
        assert images[0] == {"id": 1, "file_name": "a/ä.jpg", "width": 640, "height": 480}
        captions = {
            image["file_name"]: [each["caption"] for each in coco.loadAnns(coco.getAnnIds(imgIds=[image["id"]]))]
            for image in images
        }
        assert captions == {"a/ä.jpg": ["a dog"], "b.jpg": ["my cat"]}
        coco.info()

    def test_an_annotation_has_the_translation_of_its_caption(self, tmp_path: Path) -> None:
        translated = Translation(language="ru", caption="собака")
        jobs = [captioned("a.jpg", "a dog"), captioned("b.jpg", "a dog", edited="my dog"), captioned("c.jpg", "a cat")]
        for number in (0, 1):
            output = jobs[number].output
            assert output
            update = {"output": output.model_copy(update={"translated": translated})}
            jobs[number] = jobs[number].model_copy(update=update)

        annotations = load(export("coco", jobs), tmp_path).loadAnns(ids=[1, 2, 3])

        assert [each["translated"] for each in annotations] == [translated.model_dump(), None, None]

    def test_an_image_keeps_its_id_when_another_one_is_captioned_later(self, tmp_path: Path) -> None:
        last = captioned("b.jpg", "a cat")

        before, after = (
            load(export("coco", [first, last]), tmp_path).loadAnns(ids=[2])
            for first in (failed("a.jpg"), captioned("a.jpg", "a dog"))
        )

        assert before == after

    def test_a_batch_without_captions_is_an_empty_data_set(self, tmp_path: Path) -> None:
        assert load(export("coco", [failed("bad.jpg")]), tmp_path).getImgIds() == []

    def test_more_annotations_than_fit_in_memory_are_complete(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(documents, "MEMORY_BYTES", 500)
        monkeypatch.setattr(documents, "CHUNK_BYTES", 100)

        coco = load(export("coco", [captioned(f"{number}.jpg", "a dog") for number in range(50)]), tmp_path)

        assert len(coco.getAnnIds()) == 50


class TestLabelStudio:
    def tasks(self, *jobs: Job) -> list[dict[str, Any]]:
        return list(json.loads(export("labelstudio", jobs)))

    def test_a_task_has_the_image_and_the_caption_as_a_prediction(self) -> None:
        job = captioned("a/my dog #1.jpg", "a dog", score=-0.5)

        (task,) = self.tasks(job, failed("bad.jpg"))

        text_area = {"from_name": "caption", "to_name": "image", "type": "textarea"}
        result = {"id": job.id, **text_area, "value": {"text": ["a dog"]}}
        assert task["predictions"] == [
            {"score": pytest.approx(math.exp(-0.5)), "result": [result], "model_version": "student_epoch6"}
        ]
        assert "annotations" not in task
        data = task["data"]
        assert unquote(data["captioning"]) == "/data/local-files/?d=a/my dog #1.jpg"
        assert "#" not in data["captioning"] and data["job"] == job.id

    def test_an_edited_caption_is_an_annotation_with_an_id_of_its_own(self) -> None:
        (task,) = self.tasks(captioned("a.jpg", "a dog", edited="my dog"))

        (prediction,), (annotation,) = task["predictions"], task["annotations"]
        (model_result,), (person_result,) = prediction["result"], annotation["result"]
        assert (model_result["value"], person_result["value"]) == ({"text": ["a dog"]}, {"text": ["my dog"]})
        assert model_result["id"] != person_result["id"]

    def test_a_caption_without_a_score_has_a_prediction_without_one(self) -> None:
        (task,) = self.tasks(captioned("a.jpg", "a dog", score=None))

        assert task["predictions"][0]["score"] is None

    def test_a_batch_without_captions_is_an_empty_list(self) -> None:
        assert self.tasks() == []
