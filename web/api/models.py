"""`/v1/models`: the models that workers have, or had a short time ago."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify

from web.language import current_language
from web.services import get_services, notice

blueprint = Blueprint("models", __name__)


@blueprint.get("/v1/models")
def index() -> Response:
    """Each model with its number of live workers, and the model of the worker with the latest heartbeat."""
    services = get_services()
    alive = services.workers.alive()
    shown = notice(alive, services.default_model)
    return jsonify(
        {
            "models": [{**model.model_dump(), "workers": count} for model, count in services.workers.models(alive)],
            "captioning": alive[0].model.model_dump() if alive else None,
            "notice": shown.translated(current_language()) if shown else None,
        }
    )
