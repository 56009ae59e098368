"""PhotoPrism's vision service: `POST /api/v1/vision/caption`.

Sources: PhotoPrism's `internal/ai/vision/api_request.go` (`ApiRequest`), `api_response.go` (`ApiResponse`,
`CaptionResult`), `model.go` (`Model`) and `caption.go`, which reads the answer.
"""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, jsonify

from common.problems import Problem
from web.compat.captioning import caption_pictures, caption_texts
from web.compat.conversations import join_instructions
from web.compat.errors import show_errors
from web.compat.models import ANY_MODEL, caption_options, find_model
from web.compat.pictures import read_pictures, requested_json, requested_text, take_list
from web.services import get_services

blueprint = Blueprint("photoprism", __name__, url_prefix="/api/v1/vision")


@blueprint.post("/caption")
def caption() -> Response:
    """The caption of a photograph."""
    services, body = get_services(), requested_json()
    request_id = requested_text(body, "id")
    model = find_model(services, body.get("model"))
    url = requested_text(body, "url")
    pictures = read_pictures(services, take_list(body, "images") or ([url] if url else []))
    told = join_instructions(requested_text(body, "system"), requested_text(body, "prompt"))
    jobs = caption_pictures(services, pictures, caption_options(services, model, told))
    (text,) = caption_texts(jobs)
    result: dict[str, Any] = {"text": text}
    if jobs[0].output and jobs[0].output.confidence is not None:
        result["confidence"] = jobs[0].output.confidence
    captioned_by = jobs[0].model
    return jsonify(
        {
            "id": request_id,
            "code": 200,
            "model": {
                "type": "caption",
                "name": captioned_by.name if captioned_by else ANY_MODEL,
                "version": captioned_by.version if captioned_by else "",
            },
            "result": {"caption": result},
        }
    )


def _error(problem: Problem, sentence: str) -> dict[str, Any]:
    return {"code": problem.status, "error": sentence, "result": {}}


show_errors(blueprint, _error)
