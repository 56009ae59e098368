"""`/v1/models`: which models the live workers announce, and which one captions."""

from __future__ import annotations

from collections import Counter

from flask import Blueprint, Response, jsonify

from web.services import notice, services

blueprint = Blueprint("models", __name__)


@blueprint.get("/v1/models")
def index() -> Response:
    workers = services().workers.alive()
    counts = Counter(worker.model for worker in workers)
    captioning = workers[0].model if workers else None
    return jsonify(
        {
            "models": [{**model.model_dump(), "workers": count} for model, count in counts.items()],
            "captioning": captioning.model_dump() if captioning else None,
            "notice": notice(captioning),
        }
    )
