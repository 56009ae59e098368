"""Label Studio's machine-learning backend, which suggests captions to correct: below `/label-studio`.

Label Studio appends `/health`, `/setup` and `/predict` to the URL of a backend. The requests are those of
`label_studio.ml.api_connector.MLApi` in Label Studio 1.23.2; `label_studio.ml.models.MLBackend` uses the answers:

- A task without a prediction of the current model version is asked for again. So a task whose caption is not ready gets
  an empty list now, and its caption the next time; no request of many tasks times out.
- Of an error it shows only the status line. So the reason phrase is the problem's sentence.
- Its webhooks have no key; nothing needs them. One event, `START_TRAINING`, is a request of a user.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

from flask import Blueprint, Response, jsonify

from common import problems
from common.jobs import ModelInfo
from common.problems import Problem
from web.compat.captioning import caption_available
from web.compat.errors import show_errors
from web.compat.label_studio.labelling import caption_area, model_version
from web.compat.label_studio.pictures import CLOUD, SERVED, HeldPictures
from web.compat.pictures import Picture, read_pictures, requested_json, take_list
from web.services import Services, get_services
from web.submission import accepted_options, json_body

#: Values of a request's JSON. A task of Label Studio has about twenty, and more with annotations.
MAX_JSON_VALUES = 1_000_000

log = logging.getLogger(__name__)

blueprint = Blueprint("label_studio", __name__, url_prefix="/label-studio")


@blueprint.get("/health")
def health() -> Response:
    """Tell Label Studio that the URL and the key are right."""
    return jsonify({"status": "UP"})


@blueprint.post("/setup")
def setup() -> Response:
    """Check the labelling configuration of a project, and tell the version of the model."""
    caption_area(requested_json().get("schema"))
    return jsonify({"model_version": model_version(_model(get_services()))})


@blueprint.post("/predict")
def predict() -> Response:
    """Predictions for tasks: a caption for each picture, or an empty list where there is none yet.

    A problem that concerns all tasks is the answer; one of some of them is logged only, as Label Studio would show none
    of the captions otherwise.
    """
    services = get_services()
    body = requested_json(MAX_JSON_VALUES)
    area, tasks = caption_area(body.get("label_config")), take_list(body, "tasks")
    model, held = _model(services), HeldPictures(services)
    pictures = [partial(_read, services, held, area.data_key, task) for task in tasks]
    outcomes = caption_available(services, pictures, accepted_options(services, None))
    failures = [each for each in outcomes if isinstance(each, Problem) and each.kind is not problems.CAPTION_PENDING]
    if failures and len(failures) == len(tasks):
        raise failures[0]
    if failures:
        log.warning("%d of %d tasks of Label Studio have no prediction: %s", len(failures), len(tasks), failures[0])
    results = [[] if isinstance(each, Problem) else area.prediction(each) for each in outcomes]
    return jsonify({"results": results, "model_version": model_version(model)})


@blueprint.post("/webhook")
def webhook() -> Response:
    """Ignore Label Studio's events; refuse to be trained."""
    event = json_body()
    if isinstance(event, dict) and event.get("action") == "START_TRAINING":
        raise problems.BAD_REQUEST("captiond cannot be trained from Label Studio.")
    return jsonify({})


@blueprint.after_request
def explain(response: Response) -> Response:
    """Put the sentence of a problem into the status line, which is all that Label Studio shows."""
    if response.status_code >= 400 and response.is_json:
        # One line of Latin-1, as HTTP requires: a sentence may quote a name from the request.
        reason = " ".join(response.get_json()["error"].split()).encode("latin-1", "replace").decode("latin-1")
        response.status = f"{response.status_code} {reason}"
    return response


def _model(services: Services) -> ModelInfo:
    """The model that captions, or while no worker runs, one that has captioned; raises `not-ready` without any."""
    models = [*services.workers.captioning(services.default_model), *services.workers.known_models()]
    if not models:
        raise problems.NOT_READY("No worker is ready. Start one, or wait until its model is loaded.")
    return models[0]


def _read(services: Services, held: HeldPictures, data_key: str, task: Any) -> Picture:
    """The picture of a task. Raises `bad-request`, and the problems of `read_pictures` and of `HeldPictures.read`."""
    try:
        reference, task_id = task["data"][data_key], task["id"]
    except (KeyError, TypeError) as error:
        raise problems.BAD_REQUEST("A task has no `{name}` in its data, or no id.", name=data_key) from error
    if isinstance(reference, str) and isinstance(task_id, int) and reference.startswith((*SERVED, *CLOUD)):
        return held.read(task_id, reference)
    return read_pictures(services, [reference])[0]


show_errors(blueprint, lambda problem, sentence: {"error": sentence})
