"""`/v1/batches`: many pictures in one request; a bad one fails alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from flask import Blueprint, Response, jsonify, request, url_for

from common import strict_json
from common.jobs import Job
from web.api.webhook import requested_webhook
from web.services import services
from web.submission import submit_all

blueprint = Blueprint("batches", __name__, url_prefix="/v1/batches")


@blueprint.post("")
def create() -> Response:
    """202 with the batch, whose jobs wait or have failed already."""
    here = services()
    batch_id = submit_all(
        here, request.files.getlist("images"), request.form.getlist("custom_id"), requested_webhook(here)
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
