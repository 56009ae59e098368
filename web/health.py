"""`/healthz`: this process answers. `/readyz`: a picture sent now would be captioned."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify

from common import problems
from web.access import is_stranger
from web.services import services

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
def alive() -> Response:
    """Says nothing about Redis: restarting the web server would not bring it back."""
    return jsonify({"status": "ok"})


@blueprint.get("/readyz")
def ready() -> Response:
    """503 until Redis answers and a worker with a loaded model was heard in the last seconds.

    A stranger learns no more than that: a load balancer has no key.
    """
    workers = services().workers.alive()
    if not workers:
        raise problems.NOT_READY(
            "No worker with a loaded model has been heard in the last seconds. It may still be loading; pictures "
            "are accepted and wait meanwhile."
        )
    if is_stranger():
        return jsonify({"status": "ready"})
    return jsonify({"status": "ready", "model": workers[0].model.model_dump(), "workers": len(workers)})
