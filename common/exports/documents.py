"""Formats that are one JSON document: COCO captions and the import format of Label Studio."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from common import strict_json
from common.exports.export import Export
from common.exports.names import image_path
from common.exports.tables import quality
from common.jobs import Job, rfc3339

#: Bytes of COCO's annotations that are kept in memory; more go to a temporary file.
MEMORY_BYTES = 2**20
#: Bytes of each read from that file.
CHUNK_BYTES = 64 * 1024
#: Where Label Studio serves the files below its LOCAL_FILES_DOCUMENT_ROOT.
LOCAL_FILES = "/data/local-files/?d="


def coco(export: Export) -> Iterator[bytes]:
    """COCO captions: `images`, and one of `annotations` for each, whose id is that of its image.

    Ids are positions in the batch, so that an image keeps its id when another one is captioned later. The annotations
    are collected while the images are written, so that both are from one reading of the jobs.
    """
    created = export.batch.created_at
    info = {
        "description": f"Captions of the captiond batch {export.batch.id}",
        "year": created.year,
        "date_created": rfc3339(created),
    }
    yield f'{{"info": {strict_json.dumps(info)},\n"licenses": [],\n"images": ['.encode()
    with tempfile.SpooledTemporaryFile(MEMORY_BYTES) as annotations:
        separator = "\n"
        for position, job, caption in export.captioned():
            assert job.input is not None, "a job with a caption has an image"
            image = {"id": position, "file_name": image_path(job), "width": job.input.width, "height": job.input.height}
            translated = job.translation.model_dump() if job.translation else None
            annotation = {"id": position, "image_id": position, "caption": caption, **quality(job)}
            annotation["translated"] = translated
            annotation["model"] = job.model.name if job.model else None
            annotations.write(f"{separator}{strict_json.dumps(annotation)}".encode())
            yield f"{separator}{strict_json.dumps(image)}".encode()
            separator = ",\n"
        yield b'\n],\n"annotations": ['
        annotations.seek(0)
        while chunk := annotations.read(CHUNK_BYTES):
            yield chunk
    yield b"\n]}\n"


def label_studio(export: Export) -> Iterator[bytes]:
    """Tasks for Label Studio's template "Image Captioning".

    The model's caption is a prediction, a person's an annotation. The image is that of Label Studio's local files.
    https://labelstud.io/guide/predictions and https://labelstud.io/templates/image_captioning have the format.
    """
    separator = "[\n"
    for _, job, _ in export.captioned():
        yield f"{separator}{strict_json.dumps(_task(job))}".encode()
        separator = ",\n"
    yield b"\n]\n" if separator == ",\n" else b"[]\n"


def _task(job: Job) -> dict[str, Any]:
    assert job.output is not None, "a job with a caption has an output"
    prediction: dict[str, Any] = {"score": _probability(job), "result": [_text_area(job.id, job.output.caption)]}
    if job.model:
        prediction["model_version"] = job.model.name
    task = {"data": {"captioning": LOCAL_FILES + quote(image_path(job)), "job": job.id}, "predictions": [prediction]}
    if job.edited:
        task["annotations"] = [{"result": [_text_area(f"{job.id}-edited", job.edited.caption)]}]
    return task


def _text_area(result_id: str, caption: str) -> dict[str, Any]:
    """A result of the template's text area; ids are unique in the document."""
    names = {"from_name": "caption", "to_name": "image", "type": "textarea"}
    return {"id": result_id, **names, "value": {"text": [caption]}}


def _probability(job: Job) -> float | None:
    """Label Studio's score, from 0 to 1: the confidence, else the geometric mean of the tokens' probabilities."""
    values = quality(job)
    confidence, score = values.get("confidence"), values["score"]
    if confidence is not None or score is None:
        return confidence
    return math.exp(min(score, 0.0))
