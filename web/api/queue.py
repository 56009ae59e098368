"""`/v1/queue`: how many jobs wait and for how long, for autoscalers."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, jsonify

from common.ledger.keys import LANES
from common.ledger.queries import Waiting
from web.services import get_services

blueprint = Blueprint("queue", __name__)


@blueprint.get("/v1/queue")
def show() -> Response:
    """The waiting jobs of all owners, without their ids, in all and in each lane."""
    ledger = get_services().ledger
    return jsonify({**_body(ledger.waiting()), "lanes": {lane: _body(ledger.lane(lane)) for lane in LANES}})


def _body(waiting: Waiting) -> dict[str, Any]:
    return {"waiting": waiting.jobs, "oldest_seconds": round(waiting.oldest_seconds, 3)}
