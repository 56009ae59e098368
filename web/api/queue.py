"""`/v1/queue`: how many jobs wait and for how long, for autoscalers."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, jsonify, request

from common.ledger.metrics import LANES, Lane, Queue
from web.services import get_services

blueprint = Blueprint("queue", __name__)


@blueprint.get("/v1/queue")
def show() -> Response:
    """The waiting jobs of all owners, without their ids, in all and in each kind of lanes.

    With the query parameter `model`, only those that a worker with this model may claim.
    """
    queue = get_services().components.metrics.queue()
    if model := request.args.get("model"):
        queue = queue.for_worker(model)
    return jsonify({**_body(queue), "lanes": {kind: _body(queue.of_kind(kind)) for kind in LANES}})


def _body(waiting: Queue | Lane) -> dict[str, Any]:
    return {"waiting": waiting.jobs, "oldest_seconds": round(waiting.oldest_seconds, 3)}
