"""Error handlers: every error becomes an RFC 9457 problem, or an HTML page for browsers outside the API.

The text of an unexpected exception is logged and never sent.
"""

from __future__ import annotations

import logging

from flask import Flask, Response, render_template, request
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

log = logging.getLogger(__name__)


def register_handlers(app: Flask) -> None:
    """Register the error handlers of `app`."""
    app.register_error_handler(Problem, problem_response)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(RedisError, _redis_error)
    app.register_error_handler(OSError, _os_error)
    app.register_error_handler(Exception, _unexpected_error)


def problem_response(problem: Problem) -> Response:
    """The problem as JSON, or as an HTML page if `wants_html`."""
    get_services().components.counters.count(f"problem:{problem.kind.slug}")
    if wants_html():
        template = "sign_in.html" if problem.kind is problems.KEY_NEEDED else "error.html"
        response = Response(render_template(template, problem=problem), mimetype="text/html")
    else:
        response = Response(strict_json.dumps(problem.body(current_language())), content_type=CONTENT_TYPE)
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


def _http_error(error: HTTPException) -> WerkzeugResponse:
    if isinstance(error, NotFound):
        root = request.script_root
        return problem_response(
            problems.NOT_FOUND("Check the URL. The page is at {root}/, the API below {root}/v1/.", root=root)
        )
    if isinstance(error, MethodNotAllowed):
        allowed = ", ".join(sorted(error.valid_methods or ()))
        response = problem_response(
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
        return problem_response(
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
    return problem_response(kind(_("The request is malformed. Check how the client builds it.")))


def _redis_error(error: RedisError) -> Response:
    log.warning("Redis is unavailable: %s", error)
    return problem_response(
        problems.STORE_UNAVAILABLE("The job store is unavailable. Nothing was stored; send the request again.")
    )


def _os_error(error: OSError) -> Response:
    return problem_response(write_problem(error)) if error.errno in DISK_FULL_ERRNOS else _unexpected_error(error)


def _unexpected_error(error: Exception) -> Response:
    log.error("Unexpected error in %s %s", request.method, request.path, exc_info=error)
    return problem_response(
        problems.INTERNAL("An unexpected error occurred. The server's log has the details. Try again.")
    )
