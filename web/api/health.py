"""`/healthz`: this process answers. `/readyz`: a picture sent now would be captioned.

Both answer under any host name and without a key, as the probes of load balancers and container engines need it.
"""

from __future__ import annotations

from flask import Blueprint, Response, g, jsonify

from common import problems
from web.auth.access import is_stranger
from web.services import services

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
def alive() -> Response:
    """Says nothing about Redis: restarting the web server would not bring it back."""
    return jsonify({"status": "ok"})


@blueprint.get("/readyz")
def ready() -> Response:
    """503 until Redis answers and a worker with a loaded model was heard in the last seconds.

    Without a key where keys are needed, or under a host name that is not the service's, it says no more than that.
    """
    workers = services().workers.alive()
    if not workers:
        raise problems.NOT_READY(
            "No worker with a loaded model has been heard in the last seconds. It may still be loading; pictures "
            "are accepted and wait meanwhile."
        )
    if is_stranger() or g.unknown_host:
        return jsonify({"status": "ready"})
    return jsonify({"status": "ready", "model": workers[0].model.model_dump(), "workers": len(workers)})
