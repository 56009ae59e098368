"""JSON lines, CSV and Hugging Face's metadata file."""

from __future__ import annotations

import csv
import io

import pytest

from common.jobs import Translation
from tests.unit.common.exports.batch import captioned, export, failed, json_lines


def test_json_lines_have_every_job_with_its_caption_or_its_error() -> None:
    dog, bad = captioned("a/dog.jpg", "a dog"), failed("bad.jpg")

    rows = json_lines(export("jsonl", [dog, bad]))

    expected = {"custom_id": "a/dog.jpg", "id": dog.id, "status": "succeeded", "caption": "a dog", "score": -0.5}
    assert rows[0].items() >= {**expected, "model": "student_epoch6", "width": 640, "height": 480}.items()
    assert (rows[0]["error"], rows[1]["model"]) == (None, None)
    assert bad.error is not None
    assert rows[1].items() >= {"status": "failed", "caption": None, "score": None, "width": None}.items()
    assert rows[1]["error"] == bad.error.body()


@pytest.mark.parametrize(("edited", "caption"), [(None, "a dog"), ("my dog Rex", "my dog Rex")])
def test_json_lines_have_the_edited_caption_and_the_model_s(edited: str | None, caption: str) -> None:
    (row,) = json_lines(export("jsonl", [captioned("a.jpg", "a dog", edited)]))

    assert (row["caption"], row["model_caption"], row["edited"]) == (caption, "a dog", edited is not None)


@pytest.mark.parametrize(("edited", "text"), [(None, "собака"), ("my dog Rex", None)])
def test_the_translation_is_that_of_the_caption_and_not_of_one_that_replaces_it(
    edited: str | None, text: str | None
) -> None:
    job = captioned("a.jpg", "a dog", edited)
    assert job.output is not None
    translated = Translation(language="ru", caption="собака")
    job = job.model_copy(update={"output": job.output.model_copy(update={"translated": translated})})

    (row,) = json_lines(export("jsonl", [job]))
    (cells,) = csv.DictReader(io.StringIO(export("csv", [job]).decode(), newline=""))

    assert row["translated"] == (text and {"language": "ru", "caption": text})
    assert cells["translated"] == (text or "")


def test_csv_has_the_columns_of_json_lines_and_the_error_s_detail() -> None:
    jobs = [captioned("ein Hündchen.jpg", 'a "dog",\nrunning', score=None), failed("bad.jpg")]

    content = export("csv", jobs)

    read = csv.DictReader(io.StringIO(content.decode(), newline=""), strict=True)
    rows = list(read)
    assert list(read.fieldnames or ()) == list(json_lines(export("jsonl", jobs))[0])
    assert (rows[0]["custom_id"], rows[0]["caption"]) == ("ein Hündchen.jpg", 'a "dog",\nrunning')
    assert (rows[0]["score"], rows[0]["edited"], rows[0]["width"]) == ("", "false", "640")
    assert (rows[1]["caption"], rows[1]["error"]) == ("", "The picture is damaged.")


def test_csv_ends_rows_as_rfc_4180_says_and_has_no_byte_order_mark() -> None:
    content = export("csv", [captioned("a.jpg", "a dog")])

    assert content.startswith(b"custom_id,")
    assert content.count(b"\r\n") == content.count(b"\n") == 2


def test_csv_keeps_values_that_a_spreadsheet_takes_for_formulas() -> None:
    content = export("csv", [captioned("=1+1.jpg", "a dog", edited="=2+2")])

    (row,) = csv.DictReader(io.StringIO(content.decode(), newline=""))
    assert (row["custom_id"], row["caption"]) == ("=1+1.jpg", "=2+2")


def test_image_folder_metadata_has_path_and_caption_of_captioned_images() -> None:
    jobs = [captioned("train/a.jpg", "a dog"), failed("bad.jpg"), captioned("../b.jpg", "a cat", edited="my cat")]

    assert json_lines(export("hf", jobs)) == [
        {"file_name": "train/a.jpg", "text": "a dog"},
        {"file_name": "b.jpg", "text": "my cat"},
    ]
