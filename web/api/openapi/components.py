"""Builders of OpenAPI operations, parameters, headers, request bodies and responses."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from common import problems
from common.images.formats import FORMAT_NAMES
from common.jobs import Status
from common.problems import CONTENT_TYPE, Kind
from web.api.openapi.schemas import PATH, STRING, Schema, ref

#: Any OpenAPI object: an operation, a parameter, a header, a request body or a response.
Component = dict[str, Any]

#: Problems that any request can cause.
COMMON_PROBLEMS = (
    problems.INTERNAL,
    problems.STORE_UNAVAILABLE,
    problems.UNKNOWN_HOST,
    problems.KEY_NEEDED,
    problems.KEY_REFUSED,
    problems.RATE_LIMITED,
)
#: Problems of a request that contains an image.
IMAGE_PROBLEMS = (
    problems.EMPTY_UPLOAD,
    problems.MISSING_IMAGE,
    problems.UNSUPPORTED_IMAGE,
    problems.DAMAGED_IMAGE,
    problems.IMAGE_TOO_LARGE,
    problems.IMAGE_TOO_COSTLY,
    problems.UPLOAD_TOO_LARGE,
    problems.TOO_MANY_IMAGES,
)
#: Problems of a request that creates jobs.
ADMISSION_PROBLEMS = (
    problems.QUEUE_FULL,
    problems.STORAGE_FULL,
    problems.UPLOADS_UNAVAILABLE,
    problems.QUOTA_USED_UP,
)

#: Problems of a request with an unsafe method (POST, PATCH, DELETE).
WRITE_PROBLEMS = (*COMMON_PROBLEMS, problems.BAD_REQUEST, problems.FOREIGN_ORIGIN, problems.UPLOAD_TOO_LARGE)
#: Problems of a request that names a job, and of one that names a batch.
JOB_PROBLEMS = (problems.JOB_NOT_FOUND, problems.JOB_GONE)
BATCH_PROBLEMS = (problems.BATCH_NOT_FOUND, problems.BATCH_GONE)

#: A header's delay in seconds.
SECONDS: Schema = {"type": "integer", "minimum": 0}
URL: Schema = {"type": "string", "format": "uri"}
IMAGE_FILE: Schema = {"type": "string", "format": "binary", "description": f"A {FORMAT_NAMES} file."}


def parameter(location: str, name: str, description: str, schema: Schema, *, example: Any = None) -> Component:
    """A parameter whose `location` is `path`, `query` or `header`."""
    component: Component = {"name": name, "in": location, "description": description, "schema": schema}
    if location == "path":
        component["required"] = True
    if example is not None:
        component["example"] = example
    return component


def header(description: str, schema: Schema, *, required: bool = True) -> Component:
    """A response header; `required` is false if only some responses have it."""
    return {"description": description, "schema": schema, "required": required}


LOCATION = {"Location": header("Path of the created or next resource.", PATH)}
RETRY_AFTER = {"Retry-After": header("Seconds to wait before the next request.", SECONDS)}
ETAG = {"ETag": header("Version of the response, for `If-None-Match`.", STRING)}
PREFERENCE_APPLIED = {
    "Preference-Applied": header("The applied `wait` of the `Prefer` header.", STRING, required=False)
}

PREFER = parameter(
    "header",
    "Prefer",
    "`wait=N` delays the response until the job is finished, for at most N seconds. The maximum is 60.",
    STRING,
    example="wait=10",
)
WEBHOOK_URL = parameter(
    "header",
    "Webhook-URL",
    "A public `https:` URL that receives an event when the job or batch is finished; see `webhooks`.",
    URL,
)
#: Caption options in a form. OpenAPI's default for an object in a multipart form is JSON.
OPTIONS_FIELD: Schema = {**ref("CaptionOptions"), "description": "Options of the captions, as JSON."}
OPTIONS_QUERY: Component = {
    "name": "options",
    "in": "query",
    "description": "Options of the caption, as JSON, if the request body is the picture itself.",
    "content": {"application/json": {"schema": ref("CaptionOptions")}},
}
CANCEL_AFTER = parameter(
    "header",
    "Cancel-After",
    "Seconds after which the job, or each job of the batch, is canceled unless it is finished.",
    {"type": "integer", "minimum": 1},
)
TRACEPARENT = parameter(
    "header", "traceparent", "The client's trace (W3C Trace Context), for logs, spans and the webhook.", STRING
)
STATUS = parameter("query", "status", "Only jobs with this status.", {**STRING, "enum": [*Status]})
CURSOR = parameter("query", "cursor", "The `next` value of the previous page.", {**STRING, "format": "uuid"})
FILENAME = parameter("header", "X-Filename", "The file name, if the request body is the file itself.", STRING)
JOB_ID = parameter("path", "job_id", "The id of the job.", STRING)
BATCH_ID = parameter("path", "batch_id", "The id of the batch.", STRING)
IF_NONE_MATCH = parameter("header", "If-None-Match", "The `ETag` of an earlier response.", STRING)


def response(
    description: str, schema: Schema | None = None, *, media: str = "application/json", headers: Component | None = None
) -> Component:
    """A response; it has no content without `schema`."""
    component: Component = {"description": description}
    if headers:
        component["headers"] = headers
    if schema is not None:
        component["content"] = {media: {"schema": schema}}
    return component


def multipart_form(description: str, fields: dict[str, Schema], required: Iterable[str]) -> Component:
    """A `multipart/form-data` request body."""
    schema = {"type": "object", "description": description, "properties": fields, "required": list(required)}
    return {"required": True, "content": {"multipart/form-data": {"schema": schema}}}


def json_body(schema: Schema) -> Component:
    """An `application/json` request body."""
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def operation(
    operation_id: str,
    summary: str,
    responses: dict[int, Component],
    *kinds: Kind,
    parameters: Iterable[Component] = (),
    body: Component | None = None,
    page: bool = False,
    error: Schema | None = None,
) -> Component:
    """An operation with its successful `responses`, and a response for each status of the problem `kinds`.

    A `page` also has its problems as HTML, for clients that prefer it. `error` is the schema of problems in the shape
    of another protocol.
    """
    component: Component = {"operationId": operation_id, "summary": summary}
    if parameters:
        component["parameters"] = list(parameters)
    if body:
        component["requestBody"] = body
    by_status = {**responses, **_problem_responses(kinds, page, error)}
    component["responses"] = {str(status): by_status[status] for status in sorted(by_status)}
    return component


def _problem_responses(kinds: Iterable[Kind], page: bool, error: Schema | None) -> dict[int, Component]:
    """One response for each status of `kinds`."""
    by_status: dict[int, list[Kind]] = {}
    for kind in dict.fromkeys(kinds):
        by_status.setdefault(kind.status, []).append(kind)
    return {status: _problem_response(kinds, page, error) for status, kinds in by_status.items()}


def _problem_response(kinds: list[Kind], page: bool, error: Schema | None) -> Component:
    description = "; or: ".join(f"{kind.title} (`{kind.slug}`)" for kind in kinds)
    if error is None:
        schema = {**ref("Problem"), "properties": {"type": {"enum": [kind.type for kind in kinds]}}}
        component = response(description, schema, media=CONTENT_TYPE)
    else:
        component = response(description, error)
    if page:
        component["content"]["text/html"] = {"schema": STRING}
    if kinds[0].status in (429, 503):
        component["headers"] = RETRY_AFTER
    return component


def limit(noun: str, maximum: int, default: int) -> Component:
    """The parameter `limit` of a list."""
    return parameter("query", "limit", f"Maximum number of {noun}.", bounded_integer(maximum, default))


def bounded_integer(maximum: int, default: int) -> Schema:
    """An integer from 1 to `maximum`."""
    return {"type": "integer", "minimum": 1, "maximum": maximum, "default": default}
