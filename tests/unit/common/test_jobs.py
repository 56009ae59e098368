"""The models give the documented JSON of the API."""

from __future__ import annotations

import time

import pytest

from common.jobs import Alternative, InputInfo, Job, ModelInfo, Output, Status, Timings, is_id, made_at, moment, new_id
from common.options import CaptionOptions


def test_a_finished_job_gives_the_documented_json() -> None:
    job = Job(
        id="018f",
        status=Status.SUCCEEDED,
        model=ModelInfo(name="student_epoch6", version="sha256:1f0c"),
        input=InputInfo(filename="dog.jpg", sha256="ab", bytes=84213, format="JPEG", width=640, height=480),
        options=CaptionOptions(beams=8, captions=2),
        output=Output(caption="a dog runs", score=-0.5, alternatives=(Alternative(caption="a dog", score=-0.9),)),
        attempts=1,
        created_at=moment(0),
        started_at=moment(1.5),
        completed_at=moment(2),
        expires_at=moment(86400),
        timings=Timings(queue_seconds=1.5, model_seconds=0.4, batch_size=8),
    )

    assert job.body() == {
        "id": "018f",
        "status": "succeeded",
        "batch": None,
        "custom_id": None,
        "model": {"name": "student_epoch6", "version": "sha256:1f0c", "demo": False, "instructions": False},
        "input": {
            "filename": "dog.jpg",
            "sha256": "ab",
            "bytes": 84213,
            "format": "JPEG",
            "width": 640,
            "height": 480,
        },
        "options": {"captions": 2, "beams": 8},
        "output": {
            "caption": "a dog runs",
            "score": -0.5,
            "alternatives": [{"caption": "a dog", "score": -0.9}],
            "confidence": None,
            "unsure": None,
            "translated": None,
        },
        "edited": None,
        "error": None,
        "progress": None,
        "cached": False,
        "attempts": 1,
        "created_at": "1970-01-01T00:00:00.000Z",
        "started_at": "1970-01-01T00:00:01.500Z",
        "completed_at": "1970-01-01T00:00:02.000Z",
        "expires_at": "1970-01-02T00:00:00.000Z",
        "timings": {"queue_seconds": 1.5, "model_seconds": 0.4, "batch_size": 8},
        "urls": {
            "self": "/v1/jobs/018f",
            "cancel": "/v1/jobs/018f/cancel",
            "retry": "/v1/jobs/018f/retry",
            "image": "/v1/jobs/018f/image",
        },
    }


def test_a_job_without_options_has_null_for_them() -> None:
    job = Job(id="018f", status=Status.QUEUED, created_at=moment(0), expires_at=moment(1))

    assert job.body()["options"] is None


@pytest.mark.parametrize(
    ("confidence", "unsure"), [(0.39, True), (0.4, False), (0.9, False), (0.0, True), (None, None)]
)
def test_a_caption_is_unsure_below_the_limit_if_its_confidence_is_known(
    confidence: float | None, unsure: bool | None
) -> None:
    output = Output(caption="a dog runs", confidence=confidence)

    assert output.judged(0.4) == Output(caption="a dog runs", confidence=confidence, unsure=unsure)


def test_a_limit_of_0_marks_no_caption() -> None:
    assert Output(caption="a dog runs", confidence=0.0).judged(0.0).unsure is False


def test_ids_sort_by_creation_time() -> None:
    ids = [new_id() for _ in range(1000)]

    assert ids == sorted(ids)


def test_an_id_contains_its_creation_time() -> None:
    before = time.time()

    assert before - 0.001 <= made_at(new_id()) <= time.time()


def test_ids_are_distinguished_from_other_text() -> None:
    made = new_id()

    assert is_id(made)
    assert [text for text in ("", "garbage", made.upper(), f"{{{made}}}", made[:-1], f" {made}") if is_id(text)] == []
    assert not is_id("c9bf9e57-1685-4c89-bafb-ff5af830be8a"), "a random UUID, whose order says nothing"
