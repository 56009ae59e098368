"""`/v1/workers`: the worker processes and their last heartbeats."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, jsonify

from common.jobs import moment, rfc3339
from common.ledger import Worker
from web.language import current_language
from web.services import get_services

blueprint = Blueprint("workers", __name__)


@blueprint.get("/v1/workers")
def index() -> Response:
    """The workers, latest heartbeat first, and those that were lost in the last minute by default."""
    return jsonify({"workers": [_body(worker, age) for worker, age in get_services().workers.with_ages()]})


def _body(worker: Worker, age: float) -> dict[str, Any]:
    fields = worker.model_dump()
    for name in ("heard_at", "started_at"):
        fields[name] = rfc3339(moment(fields[name]))
    fields["unavailable"] = worker.unavailable and worker.unavailable.translated(current_language())
    return {**fields, "alive": age <= get_services().settings.ready_seconds}
