"""`/v1/batches`: many pictures in one request; a bad one fails alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from flask import Blueprint, Response, jsonify, request, url_for
from werkzeug.datastructures import FileStorage

from common import problems, strict_json
from common.jobs import Job, Status, new_id
from common.ledger import NewJob
from common.problems import Problem
from common.queue import CLAIM_SIZE, notify
from web.services import Services, services
from web.submission import clean_name, keep, read
from web.webhook import wished_webhook

blueprint = Blueprint("batches", __name__, url_prefix="/v1/batches")


@blueprint.before_request
def _allow_more() -> None:
    """A batch may be larger than a picture. Set before the form is parsed."""
    settings = services().settings
    request.max_content_length = settings.max_batch_bytes
    request.max_form_parts = 2 * settings.max_batch_items + 1


@blueprint.post("")
def create() -> Response:
    """202 with the batch, whose jobs wait or have failed already."""
    here = services()
    batch_id = submit_all(
        here, request.files.getlist("images"), request.form.getlist("custom_id"), wished_webhook(here)
    )
    response = jsonify(here.batches.get(batch_id).body(request.script_root))
    response.status_code = 202
    response.headers["Location"] = url_for("batches.show", batch_id=batch_id)
    response.headers["Retry-After"] = "1"
    return response


@blueprint.get("/<batch_id>")
def show(batch_id: str) -> Response:
    return jsonify(services().batches.get(batch_id).body(request.script_root))


@blueprint.get("/<batch_id>/results")
def results(batch_id: str) -> Response:
    """One JSON object a line, in the order of submission, for every picture, done or not."""
    here = services()
    here.batches.get(batch_id)
    return Response(_lines(here.batches.jobs(batch_id)), mimetype="application/jsonl")


@blueprint.post("/<batch_id>/cancel")
def cancel(batch_id: str) -> Response:
    return jsonify(services().batches.cancel(batch_id).body(request.script_root))


def submit_all(here: Services, files: list[FileStorage], custom_ids: list[str], webhook: str | None = None) -> str:
    """Record a batch of all `files`, of whose end `webhook` is told; the id of the batch."""
    most = here.settings.max_batch_items
    if not files:
        raise problems.MISSING_IMAGE("Send the pictures as multipart form fields `images`, one for each picture.")
    if len(files) > most:
        raise problems.TOO_MANY_IMAGES(f"{len(files)} pictures are more than the {most} of one batch. Send several.")
    if custom_ids and len(custom_ids) != len(files):
        raise problems.BAD_REQUEST(
            f"There are {len(files)} `images` and {len(custom_ids)} `custom_id`; give one for each picture, or none."
        )
    here.ledger.admit(len(files))
    batch_id = new_id()
    here.batches.create(batch_id, webhook, request.script_root)
    model, recorded = here.model(), 0  # the workers are asked once
    for file, custom_id in zip(files, custom_ids or [clean_name(file.filename) for file in files], strict=True):
        new = NewJob(batch=batch_id, custom_id=custom_id, webhook=webhook)
        try:
            job = keep(here, file.filename, read(file, here.settings.max_upload_bytes), model, new)
        except Problem as problem:
            here.ledger.create(new_id(), replace(new, error=problem))
            continue
        recorded += job.status is Status.QUEUED
        if recorded == CLAIM_SIZE:  # the first pictures need not wait for the last
            notify(here.celery, recorded)
            recorded = 0
    notify(here.celery, recorded)
    if webhook:
        here.batches.seal(batch_id)
    return batch_id


def _lines(jobs: Iterable[Job]) -> Iterator[str]:
    for job in jobs:
        line = {
            "custom_id": job.custom_id,
            "id": job.id,
            "status": job.status.value,
            "caption": job.output.caption if job.output else None,
            "score": job.output.score if job.output else None,
            "error": job.error.model_dump() if job.error else None,
        }
        yield strict_json.dumps(line) + "\n"
