"""`/v1/models`: which models the live workers announce, and which one captions."""

from __future__ import annotations

from collections import Counter

from flask import Blueprint, Response, jsonify

from common.jobs import ModelInfo
from web.services import services

#: What to do about the demo model; shown on the page, too.
DEMO_NOTICE = (
    "The bundled demo model is captioning. It is small: it names common scenes of people, dogs, sport and streets, "
    "and is often wrong about rarer things, colours and counts. To use the real one, place student_epoch6.pt in the "
    "project's root and start the service again."
)

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


def notice(model: ModelInfo | None) -> str | None:
    """The sentence a person should read about `model`."""
    return DEMO_NOTICE if model and model.demo else None
