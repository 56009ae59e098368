"""Ollama's API: `/api/generate`, `/api/chat`, `/api/tags`, `/api/show` and `/api/version`.

Sources: Ollama's `docs/api.md` and `api/types.go` (`GenerateRequest`, `GenerateResponse`, `ChatRequest`,
`ChatResponse`, `ListResponse`, `ShowResponse`, `StatusError`); its client, `ollama-python`, `ollama/_types.py`.

`options`, `format`, `template`, `think` and `keep_alive` are ignored. The web server has no tokenizer, so `eval_count`
counts words.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Response, jsonify

from common import strict_json
from common.jobs import ModelInfo, moment, rfc3339
from web.compat.captioning import caption_pictures, caption_texts
from web.compat.conversations import Message, bad_messages, join_instructions, read_chat
from web.compat.errors import show_errors
from web.compat.models import ANY_MODEL, DEFAULT_TAG, caption_options, find_model
from web.compat.pictures import Picture, read_pictures, requested_json, requested_text, take_list
from web.services import get_services

#: The version of Ollama whose API this follows; clients decide by it what they may send. It is the first with
#: `capabilities` in `/api/show`.
VERSION = "0.6.4"
#: Nanoseconds of a second, Ollama's unit of durations.
NANOSECONDS = 10**9

#: Makes the members of an answer that contain a text.
Part = Callable[[str], dict[str, Any]]

blueprint = Blueprint("ollama", __name__, url_prefix="/api")


@blueprint.get("/version")
def version() -> Response:
    """The version of Ollama's API."""
    return jsonify({"version": VERSION})


@blueprint.get("/tags")
def tags() -> Response:
    """The models that a request may name."""
    models = [ModelInfo(name=ANY_MODEL, version=""), *get_services().models()]
    return jsonify({"models": [_listed(model) for model in models]})


@blueprint.post("/show")
def show() -> Response:
    """What a model can do."""
    body = requested_json()
    find_model(get_services(), body.get("model") or body.get("name"))
    return jsonify(
        {
            "modelfile": "",
            "parameters": "",
            "template": "",
            "details": _details(),
            "model_info": {},
            "capabilities": ["completion", "vision"],
            "modified_at": rfc3339(moment(0)),
        }
    )


@blueprint.post("/generate")
def generate() -> Response:
    """The captions of pictures."""
    body = requested_json()
    if not body.get("images") and not body.get("prompt"):
        return _loaded(body, _generated)
    pictures = read_pictures(get_services(), take_list(body, "images"))
    told = join_instructions(requested_text(body, "system"), requested_text(body, "prompt"))
    return _captioned(body, pictures, told, _generated)


@blueprint.post("/chat")
def chat() -> Response:
    """The captions of the pictures of a chat."""
    body = requested_json()
    if not body.get("messages"):
        return _loaded(body, _said)
    told, pictures = read_chat(get_services(), [_message(item) for item in take_list(body, "messages")])
    return _captioned(body, pictures, told, _said)


def _captioned(body: dict[str, Any], pictures: list[Picture], told: str, part: Part) -> Response:
    started, services = time.monotonic_ns(), get_services()
    options = caption_options(services, find_model(services, body.get("model")), told)
    jobs = caption_pictures(services, pictures, options)
    (text,) = caption_texts(jobs)
    model_seconds = sum(job.timings.model_seconds for job in jobs if job.timings and not job.cached)
    durations = {
        "total_duration": time.monotonic_ns() - started,
        "load_duration": 0,
        "prompt_eval_count": 0,
        "prompt_eval_duration": 0,
        "eval_count": len(text.split()),
        # At least 1, because clients divide by it.
        "eval_duration": max(1, round(model_seconds * NANOSECONDS)),
    }
    end = {"done": True, "done_reason": "stop", **durations}
    if body.get("stream") is False:
        return jsonify({**_head(body), **part(text), **end})
    return _lines({**_head(body), **part(text), "done": False}, {**_head(body), **part(""), **end})


def _loaded(body: dict[str, Any], part: Part) -> Response:
    """The answer to an empty request, which loads a model into memory, or unloads it with `keep_alive` 0."""
    find_model(get_services(), body.get("model"))
    reason = "unload" if body.get("keep_alive") == 0 else "load"
    return jsonify({**_head(body), **part(""), "done": True, "done_reason": reason})


def _head(body: dict[str, Any]) -> dict[str, Any]:
    """The model by the name that the client used, because clients compare it, and the time."""
    return {"model": str(body.get("model") or ANY_MODEL), "created_at": rfc3339(datetime.now(UTC))}


def _generated(text: str) -> dict[str, Any]:
    return {"response": text}


def _said(text: str) -> dict[str, Any]:
    return {"message": {"role": "assistant", "content": text}}


def _lines(*values: dict[str, Any]) -> Response:
    """A stream of JSON objects: a caption comes in one piece, then its end."""
    return Response("".join(f"{strict_json.dumps(value)}\n" for value in values), mimetype="application/x-ndjson")


def _message(item: object) -> Message:
    if not isinstance(item, dict):
        raise bad_messages()
    return Message(str(item.get("role")), requested_text(item, "content"), take_list(item, "images"))


def _listed(model: ModelInfo) -> dict[str, Any]:
    name = model.name if ":" in model.name else model.name + DEFAULT_TAG
    return {
        "name": name,
        "model": name,
        "modified_at": rfc3339(moment(0)),
        "size": 0,
        "digest": model.version.removeprefix("sha256:"),
        "details": _details(),
    }


def _details() -> dict[str, Any]:
    """Ollama's description of a model's file, of which captiond knows nothing."""
    return {
        "parent_model": "",
        "format": "",
        "family": "captiond",
        "families": ["captiond"],
        "parameter_size": "",
        "quantization_level": "",
    }


show_errors(blueprint)
