"""Error handlers: every error becomes an RFC 9457 problem, or an HTML page for browsers outside the API.

Blueprints of `web.compat` show the same problems in the shapes of their protocols.

The text of an unexpected exception is logged and never sent.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

from flask import Blueprint, Flask, Response, render_template, request
from redis import RedisError
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound, RequestEntityTooLarge
from werkzeug.wrappers import Response as WerkzeugResponse

from common import problems, strict_json
from common.files import DISK_FULL_ERRNOS, write_problem
from common.problems import CONTENT_TYPE, Kind, Problem
from common.translation import _
from web.language import current_language
from web.services import get_services

#: Seconds of the Retry-After header for each kind of problem.
RETRY_AFTER = {
    problems.QUEUE_FULL: 30,
    problems.FETCHING_BUSY: 5,
    problems.STORE_UNAVAILABLE: 2,
    problems.UPLOADS_UNAVAILABLE: 5,
    problems.NOT_READY: 2,
}

#: Makes the response to a problem.
Render = Callable[[Problem], Response]

log = logging.getLogger(__name__)


def register_handlers(target: Flask | Blueprint, render: Render | None = None) -> None:
    """Register handlers for all errors of an application or a blueprint.

    `render` makes the body of the response to a problem; the default is `problem_body`. The status and headers are the
    same for all.
    """
    respond = partial(_problem_response, render or problem_body)
    target.register_error_handler(Problem, respond)
    target.register_error_handler(HTTPException, partial(_http_error, respond))
    target.register_error_handler(RedisError, partial(_redis_error, respond))
    target.register_error_handler(OSError, partial(_os_error, respond))
    target.register_error_handler(Exception, partial(_unexpected_error, respond))


def problem_body(problem: Problem) -> Response:
    """The problem as JSON, or as an HTML page if `wants_html`."""
    if wants_html():
        template = "sign_in.html" if problem.kind is problems.KEY_NEEDED else "error.html"
        return Response(render_template(template, problem=problem), mimetype="text/html")
    return Response(strict_json.dumps(problem.body(current_language())), content_type=CONTENT_TYPE)


def _problem_response(render: Render, problem: Problem) -> Response:
    get_services().components.counters.count(f"problem:{problem.kind.slug}")
    response = render(problem)
    response.status_code = problem.status
    retry_after = problem.extensions.get("retry_after", RETRY_AFTER.get(problem.kind))
    if retry_after is not None:
        response.headers["Retry-After"] = str(retry_after)
    if problem.kind is problems.KEY_NEEDED:
        response.headers["WWW-Authenticate"] = 'Bearer realm="captiond"'
    return response


def wants_html() -> bool:
    """Whether the client prefers HTML and the path is neither below `/v1/` nor a health check."""
    if request.path.startswith(("/v1/", "/healthz", "/readyz")):
        return False
    return request.accept_mimetypes.best_match(["application/problem+json", "text/html"]) == "text/html"


def _http_error(respond: Render, error: HTTPException) -> WerkzeugResponse:
    if isinstance(error, NotFound):
        root = request.script_root
        return respond(
            problems.NOT_FOUND("Check the URL. The page is at {root}/, the API below {root}/v1/.", root=root)
        )
    if isinstance(error, MethodNotAllowed):
        allowed = ", ".join(sorted(error.valid_methods or ()))
        response = respond(
            problems.METHOD_NOT_ALLOWED(
                "The method {method} is not allowed here. Allowed are: {allowed}.",
                method=request.method,
                allowed=allowed,
            )
        )
        response.headers["Allow"] = allowed
        return response
    if isinstance(error, RequestEntityTooLarge):
        settings = get_services().settings
        return respond(
            problems.UPLOAD_TOO_LARGE(
                "The request is too large. The limits are {picture} MB for a picture and {batch} MB for a batch. Make "
                "the picture smaller, for example by saving it as JPEG, or send fewer pictures at once.",
                picture=round(settings.max_upload_bytes / 2**20),
                batch=round(settings.max_batch_bytes / 2**20),
            )
        )
    if error.code is not None and 300 <= error.code < 400:
        return error.get_response()
    kind = Kind(problems.BAD_REQUEST.slug, error.code or 400, error.name)
    return respond(kind(_("The request is malformed. Check how the client builds it.")))


def _redis_error(respond: Render, error: RedisError) -> Response:
    log.warning("Redis is unavailable: %s", error)
    return respond(
        problems.STORE_UNAVAILABLE("The job store is unavailable. Nothing was stored; send the request again.")
    )


def _os_error(respond: Render, error: OSError) -> Response:
    return respond(write_problem(error)) if error.errno in DISK_FULL_ERRNOS else _unexpected_error(respond, error)


def _unexpected_error(respond: Render, error: Exception) -> Response:
    log.error("Unexpected error in %s %s", request.method, request.path, exc_info=error)
    return respond(problems.INTERNAL("An unexpected error occurred. The server's log has the details. Try again."))
