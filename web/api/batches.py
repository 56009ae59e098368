"""`/v1/batches`: many images in one request. An invalid image fails without affecting the others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from flask import Blueprint, Response, jsonify, request, url_for

from common import strict_json
from common.jobs import Job
from web.api.webhook import requested_webhook
from web.language import current_language
from web.services import get_services
from web.submission import submit_batch

blueprint = Blueprint("batches", __name__, url_prefix="/v1/batches")


@blueprint.post("")
def create() -> Response:
    """Create a batch with one job for each image; 202 with the batch."""
    services = get_services()
    batch_id = submit_batch(
        services, request.files.getlist("images"), request.form.getlist("custom_id"), requested_webhook(services)
    )
    response = jsonify(services.batches.get(batch_id).body(request.script_root))
    response.status_code = 202
    response.headers["Location"] = url_for("batches.show", batch_id=batch_id)
    response.headers["Retry-After"] = "1"
    return response


@blueprint.get("/<batch_id>")
def show(batch_id: str) -> Response:
    return jsonify(get_services().batches.get(batch_id).body(request.script_root))


@blueprint.get("/<batch_id>/results")
def results(batch_id: str) -> Response:
    """One JSON line for each job, finished or not, in the order of submission."""
    services = get_services()
    services.batches.get(batch_id)
    return Response(_json_lines(services.batches.jobs(batch_id), current_language()), mimetype="application/jsonl")


@blueprint.post("/<batch_id>/cancel")
def cancel(batch_id: str) -> Response:
    return jsonify(get_services().batches.cancel(batch_id).body(request.script_root))


def _json_lines(jobs: Iterable[Job], language: str) -> Iterator[str]:
    for job in jobs:
        result = {
            "custom_id": job.custom_id,
            "id": job.id,
            "status": job.status.value,
            "caption": job.output.caption if job.output else None,
            "score": job.output.score if job.output else None,
            "error": job.error.body(language) if job.error else None,
        }
        yield strict_json.dumps(result) + "\n"
