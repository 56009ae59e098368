"""`/v1/models`: the models of the live workers."""

from __future__ import annotations

from collections import Counter

from flask import Blueprint, Response, jsonify

from web.language import current_language
from web.services import get_services, model_notice

blueprint = Blueprint("models", __name__)


@blueprint.get("/v1/models")
def index() -> Response:
    """Each model with its number of workers, and the model of the worker with the latest heartbeat."""
    services = get_services()
    workers = services.workers.alive()
    counts = Counter(worker.model for worker in workers)
    captioning = workers[0].model if workers else None
    notice = services.outage_notice() or model_notice(captioning)
    return jsonify(
        {
            "models": [{**model.model_dump(), "workers": count} for model, count in counts.items()],
            "captioning": captioning.model_dump() if captioning else None,
            "notice": notice.translated(current_language()) if notice else None,
        }
    )
