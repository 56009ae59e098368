"""Probes: `/healthz` (this process lives), `/readyz` (pictures are accepted), `/readyz/captioning` (and captioned now).

They accept any host name and need no key, because the probes of load balancers and container engines send neither.
"""

from __future__ import annotations

from flask import Blueprint, Response, g, jsonify

from common import problems
from web.auth.access import is_unauthenticated
from web.services import get_services, outage_notice

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
def alive() -> Response:
    """Does not check Redis: restarting the web server would not repair it."""
    return jsonify({"status": "ok"})


@blueprint.get("/readyz")
def ready() -> Response:
    """503 (507 for a full disk) unless Redis and the upload store take pictures now.

    Does not check the workers: without them pictures wait, and a load balancer must not turn uploads away.
    """
    services = get_services()
    services.components.ledger.check_writable()
    services.store_probe.check()
    return jsonify({"status": "ready"})


@blueprint.get("/readyz/captioning")
def captioning() -> Response:
    """503 unless Redis answers and a worker whose model can caption sent a heartbeat in the last seconds.

    The model and the number of workers are left out for requests without a required key or with an unknown host name.
    """
    workers = get_services().workers.alive()
    if outage := outage_notice(workers):
        raise problems.NOT_READY(outage)
    if not workers:
        raise problems.NOT_READY(
            "No worker with a loaded model has sent a heartbeat in the last seconds. It may still be loading; pictures "
            "are accepted and queued in the meantime."
        )
    if is_unauthenticated() or g.unknown_host:
        return jsonify({"status": "ready"})
    return jsonify({"status": "ready", "model": workers[0].model.model_dump(), "workers": len(workers)})
