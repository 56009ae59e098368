"""Hugging Face's task `image-to-text`: `POST /huggingface/image-to-text`.

The request is the bytes of a picture, or `{"inputs": BASE64, "parameters": {…}}`; the response is
`[{"generated_text": …}]`; an error is `{"error": …}`. Sources: the specification of the task, `huggingface.js`,
`packages/tasks/src/tasks/image-to-text/spec/{input,output}.json`; the client, `huggingface_hub`,
`inference/_providers/hf_inference.py` (`HFInferenceBinaryInputTask`).

`parameters` are those of a search in transformers' terms. They are ignored: the service's settings hold.
"""

from __future__ import annotations

from flask import Blueprint, Response, jsonify, request

from common.ingest import upload_too_large
from web.compat.captioning import caption_pictures
from web.compat.errors import show_errors
from web.compat.pictures import Picture, read_pictures, requested_json
from web.services import Services, get_services
from web.submission import accepted_options

blueprint = Blueprint("huggingface", __name__, url_prefix="/huggingface")


@blueprint.post("/image-to-text")
def image_to_text() -> Response:
    """The caption of a picture."""
    services = get_services()
    (job,) = caption_pictures(services, [_requested_picture(services)], accepted_options(services, None))
    return jsonify([{"generated_text": job.caption}])


def _requested_picture(services: Services) -> Picture:
    if request.is_json:
        inputs = requested_json().get("inputs")
        (picture,) = read_pictures(services, [] if inputs is None else [inputs])
        return picture
    limit = services.settings.max_upload_bytes
    data = request.get_data(cache=False)
    if len(data) > limit:
        raise upload_too_large(limit)
    return Picture(data)


show_errors(blueprint)
