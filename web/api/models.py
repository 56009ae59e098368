"""`/v1/models`: the models that workers have, or had a short time ago."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify

from web.language import current_language
from web.services import get_services, model_notice

blueprint = Blueprint("models", __name__)


@blueprint.get("/v1/models")
def index() -> Response:
    """Each model with its number of live workers, and the model of the worker with the latest heartbeat."""
    services = get_services()
    captioning = services.current_model()
    notice = services.outage_notice() or model_notice(captioning)
    return jsonify(
        {
            "models": [{**model.model_dump(), "workers": count} for model, count in services.workers.models()],
            "captioning": captioning.model_dump() if captioning else None,
            "notice": notice.translated(current_language()) if notice else None,
        }
    )
