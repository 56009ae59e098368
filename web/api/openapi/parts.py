"""What operations are put together from: parameters, headers, bodies and answers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from common import problems
from common.images.decoding import FORMAT_NAMES
from common.problems import CONTENT_TYPE, Kind
from web.api.openapi.schemas import PATH, TEXT, Schema, ref

Part = dict[str, Any]

#: Problems that any request can meet.
ALWAYS = (
    problems.INTERNAL,
    problems.STORE_UNAVAILABLE,
    problems.UNKNOWN_HOST,
    problems.KEY_NEEDED,
    problems.KEY_REFUSED,
    problems.RATE_LIMITED,
)
#: Problems of every picture that is sent.
PICTURE = (
    problems.EMPTY_UPLOAD,
    problems.MISSING_IMAGE,
    problems.UNSUPPORTED_IMAGE,
    problems.DAMAGED_IMAGE,
    problems.IMAGE_TOO_LARGE,
    problems.IMAGE_TOO_COSTLY,
    problems.UPLOAD_TOO_LARGE,
    problems.TOO_MANY_IMAGES,
)
#: Problems of a request that adds to the queue.
ADMISSION = (problems.QUEUE_FULL, problems.STORAGE_FULL, problems.UPLOADS_UNAVAILABLE, problems.QUOTA_USED_UP)

#: Problems of a request that changes something.
CHANGE = (*ALWAYS, problems.BAD_REQUEST, problems.FOREIGN_ORIGIN, problems.UPLOAD_TOO_LARGE)
JOB = (problems.JOB_NOT_FOUND, problems.JOB_GONE)
BATCH = (problems.BATCH_NOT_FOUND, problems.BATCH_GONE)

#: Seconds of a header that says when to ask again.
SECONDS: Schema = {"type": "integer", "minimum": 0}
URL: Schema = {"type": "string", "format": "uri"}
FILE: Schema = {"type": "string", "format": "binary", "description": f"A {FORMAT_NAMES} file."}


def parameter(place: str, name: str, description: str, schema: Schema, *, example: Any = None) -> Part:
    """A parameter in the `path`, `query` or `header`."""
    part: Part = {"name": name, "in": place, "description": description, "schema": schema}
    if place == "path":
        part["required"] = True
    if example is not None:
        part["example"] = example
    return part


def header(description: str, schema: Schema, *, required: bool = True) -> Part:
    """A header of an answer; not `required` when it depends on the request."""
    return {"description": description, "schema": schema, "required": required}


LOCATION = {"Location": header("Where to ask for it.", PATH)}
RETRY_AFTER = {"Retry-After": header("Seconds after which to ask again.", SECONDS)}
ETAG = {"ETag": header("Names this state, for `If-None-Match`.", TEXT)}
APPLIED = {"Preference-Applied": header("Repeats a `Prefer: wait` that was honoured.", TEXT, required=False)}

PREFER = parameter(
    "header",
    "Prefer",
    "`wait=N` holds the answer until the caption is there, at most N seconds, and at most 60.",
    TEXT,
    example="wait=10",
)
WEBHOOK = parameter(
    "header", "Webhook-URL", "A public `https:` URL of yours that is told of the end; see `webhooks`.", URL
)
JOB_ID = parameter("path", "job_id", "The job's id.", TEXT)
BATCH_ID = parameter("path", "batch_id", "The batch's id.", TEXT)
IF_NONE_MATCH = parameter("header", "If-None-Match", "An `ETag` that is known already.", TEXT)


def answer(
    description: str, schema: Schema | None = None, *, media: str = "application/json", headers: Part | None = None
) -> Part:
    """One answer; without `schema` it has no content."""
    part: Part = {"description": description}
    if headers:
        part["headers"] = headers
    if schema is not None:
        part["content"] = {media: {"schema": schema}}
    return part


def form(description: str, fields: dict[str, Schema], required: Iterable[str]) -> Part:
    """A multipart form."""
    schema = {"type": "object", "description": description, "properties": fields, "required": list(required)}
    return {"required": True, "content": {"multipart/form-data": {"schema": schema}}}


def operation(
    name: str,
    summary: str,
    answers: dict[int, Part],
    *meets: Kind,
    parameters: Iterable[Part] = (),
    body: Part | None = None,
    page: bool = False,
) -> Part:
    """One entry of the document: a request, what answers it, and the problems that it can meet.

    A `page` says its problems in HTML to who would rather have that.
    """
    part: Part = {"operationId": name, "summary": summary}
    if parameters:
        part["parameters"] = list(parameters)
    if body:
        part["requestBody"] = body
    responses = {**answers, **_refusals(meets, page)}
    part["responses"] = {str(status): responses[status] for status in sorted(responses)}
    return part


def _refusals(kinds: Iterable[Kind], page: bool) -> dict[int, Part]:
    """The problems, by status."""
    by_status: dict[int, list[Kind]] = {}
    for kind in dict.fromkeys(kinds):
        by_status.setdefault(kind.status, []).append(kind)
    return {status: _refusal(kinds, page) for status, kinds in by_status.items()}


def _refusal(kinds: list[Kind], page: bool) -> Part:
    schema = {**ref("Problem"), "properties": {"type": {"enum": [kind.type for kind in kinds]}}}
    part = answer("; or: ".join(f"{kind.title} (`{kind.slug}`)" for kind in kinds), schema, media=CONTENT_TYPE)
    if page:
        part["content"]["text/html"] = {"schema": TEXT}
    if kinds[0].status in (429, 503):
        part["headers"] = RETRY_AFTER
    return part


def whole_number(most: int, default: int) -> Schema:
    """A number from 1 to `most`."""
    return {"type": "integer", "minimum": 1, "maximum": most, "default": default}
