"""`/v1/batches`: many images in one request. An invalid image fails without affecting the others."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify, request, url_for

from web.api.webhook import requested_webhook
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


@blueprint.post("/<batch_id>/cancel")
def cancel(batch_id: str) -> Response:
    return jsonify(get_services().batches.cancel(batch_id).body(request.script_root))
