"""OpenAI's chat completions: `POST /openai/v1/chat/completions` and `GET /openai/v1/models`.

Sources: OpenAI's API reference, https://platform.openai.com/docs/api-reference/chat; its errors,
https://platform.openai.com/docs/guides/error-codes; the types and errors that its client reads, in `openai-python`:
`types/chat/chat_completion.py`, `types/chat/chat_completion_chunk.py`, `types/completion_usage.py`, `types/model.py`
and `_exceptions.py`.

Sampling parameters, `max_tokens`, `tools` and `response_format` are ignored. The web server has no tokenizer, so
`usage` counts words.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from flask import Blueprint, Response, jsonify

from common import problems, strict_json
from common.jobs import Job
from common.problems import Problem
from web.compat.captioning import caption_pictures, caption_texts
from web.compat.conversations import Message, bad_messages, read_chat
from web.compat.errors import show_errors
from web.compat.models import ANY_MODEL, caption_options, check_caption_count, find_model
from web.compat.pictures import requested_json, take_list
from web.services import get_services

#: OpenAI's own codes for problems that clients distinguish. The code of others is the last part of their type.
CODES = {
    problems.KEY_NEEDED: "invalid_api_key",
    problems.RATE_LIMITED: "rate_limit_exceeded",
    problems.QUOTA_USED_UP: "insufficient_quota",
    problems.MODEL_NOT_FOUND: "model_not_found",
}

blueprint = Blueprint("openai", __name__, url_prefix="/openai/v1")


@blueprint.get("/models")
def models() -> Response:
    """The models that a request may name."""
    names = [ANY_MODEL, *(model.name for model in get_services().models())]
    data = [{"id": name, "object": "model", "created": 0, "owned_by": "captiond"} for name in names]
    return jsonify({"object": "list", "data": data})


@blueprint.post("/chat/completions")
def chat_completions() -> Response:
    """The captions of the pictures of a chat."""
    services, body = get_services(), requested_json()
    count = check_caption_count(1 if body.get("n") is None else body["n"])
    model = find_model(services, body.get("model"))
    told, pictures = read_chat(services, [_message(item) for item in take_list(body, "messages")])
    jobs = caption_pictures(services, pictures, caption_options(services, model, told, count))
    texts = caption_texts(jobs, count)
    if body.get("stream"):
        stream_options = body.get("stream_options")
        include_usage = isinstance(stream_options, dict) and bool(stream_options.get("include_usage"))
        return Response(_events(jobs, texts, include_usage), mimetype="text/event-stream")
    choices = [
        {
            "index": index,
            "message": {"role": "assistant", "content": text, "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
        for index, text in enumerate(texts)
    ]
    return jsonify({**_head(jobs, "chat.completion"), "choices": choices, "usage": _usage(texts)})


def _message(item: object) -> Message:
    if not isinstance(item, dict):
        raise bad_messages()
    # OpenAI's newer name for the role of the system's messages.
    role = "system" if item.get("role") == "developer" else str(item.get("role"))
    content = item.get("content")
    if content is None or isinstance(content, str):
        return Message(role, content or "")
    if not isinstance(content, list) or not all(isinstance(part, dict) for part in content):
        raise bad_messages()
    texts = [part["text"] for part in content if isinstance(part.get("text"), str)]
    pictures = [_url(part.get("image_url")) for part in content if part.get("type") == "image_url"]
    return Message(role, "\n".join(texts), pictures)


def _url(image_url: object) -> Any:
    """The URL of an image part. Some clients send it without the object around it."""
    return image_url.get("url") if isinstance(image_url, dict) else image_url


def _head(jobs: Sequence[Job], kind: str) -> dict[str, Any]:
    first = jobs[0]
    return {
        "id": f"chatcmpl-{first.id}",
        "object": kind,
        "created": int(first.created_at.timestamp()),
        "model": first.model.name if first.model else ANY_MODEL,
    }


def _usage(texts: Sequence[str]) -> dict[str, int]:
    words = sum(len(text.split()) for text in texts)
    return {"prompt_tokens": 0, "completion_tokens": words, "total_tokens": words}


def _events(jobs: Sequence[Job], texts: Sequence[str], include_usage: bool) -> Iterator[str]:
    """The answer as server-sent events: each text in one piece, then its end."""
    head = _head(jobs, "chat.completion.chunk")
    for index, text in enumerate(texts):
        for delta, finish_reason in (({"role": "assistant", "content": text}, None), ({}, "stop")):
            choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
            yield _event({**head, "choices": [choice]})
    if include_usage:
        yield _event({**head, "choices": [], "usage": _usage(texts)})
    yield "data: [DONE]\n\n"


def _event(data: dict[str, Any]) -> str:
    return f"data: {strict_json.dumps(data)}\n\n"


def _error(problem: Problem, sentence: str) -> dict[str, Any]:
    kind = "invalid_request_error" if problem.status < 500 else "server_error"
    code = CODES.get(problem.kind, problem.kind.slug)
    return {"error": {"message": sentence, "type": kind, "param": None, "code": code}}


show_errors(blueprint, _error)
