"""Every error as an RFC 9457 problem, or as a page for a person who navigates; never an exception's text."""

from __future__ import annotations

import logging

from flask import Flask, Response, render_template, request
from redis import RedisError
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound, RequestEntityTooLarge
from werkzeug.wrappers import Response as WerkzeugResponse

from common import problems, strict_json
from common.files import DISK_FULL_ERRNOS, write_problem
from common.problems import CONTENT_TYPE, Kind, Problem
from web.services import services

#: Seconds after which a client may try again, by problem.
RETRY_AFTER = {
    problems.QUEUE_FULL: 30,
    problems.FETCHING_BUSY: 5,
    problems.STORE_UNAVAILABLE: 2,
    problems.UPLOADS_UNAVAILABLE: 5,
    problems.NOT_READY: 2,
}

log = logging.getLogger(__name__)


def handle(app: Flask) -> None:
    """Answer every error of `app` as a problem."""
    app.register_error_handler(Problem, answer)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(RedisError, _store)
    app.register_error_handler(OSError, _system)
    app.register_error_handler(Exception, _unexpected)


def answer(problem: Problem) -> Response:
    """The problem as JSON, or as a page where the client would rather have HTML outside the API."""
    if wants_page():
        template = "sign_in.html" if problem.kind is problems.KEY_NEEDED else "error.html"
        response = Response(render_template(template, problem=problem), mimetype="text/html")
    else:
        response = Response(strict_json.dumps(problem.body()), content_type=CONTENT_TYPE)
    response.status_code = problem.status
    seconds = problem.extensions.get("retry_after", RETRY_AFTER.get(problem.kind))
    if seconds is not None:
        response.headers["Retry-After"] = str(seconds)
    if problem.kind is problems.KEY_NEEDED:
        response.headers["WWW-Authenticate"] = 'Bearer realm="captiond"'
    return response


def wants_page() -> bool:
    """Whether a person looks at the answer: a browser outside the API."""
    if request.path.startswith(("/v1/", "/healthz", "/readyz")):
        return False
    return request.accept_mimetypes.best_match(["application/problem+json", "text/html"]) == "text/html"


def _http(error: HTTPException) -> WerkzeugResponse:
    if isinstance(error, NotFound):
        root = request.script_root
        return answer(problems.NOT_FOUND(f"Check the address. The page is at {root}/, the API below {root}/v1/."))
    if isinstance(error, MethodNotAllowed):
        allowed = ", ".join(sorted(error.valid_methods or ()))
        response = answer(problems.METHOD_NOT_ALLOWED(f"{request.method} is not possible here; {allowed} is."))
        response.headers["Allow"] = allowed
        return response
    if isinstance(error, RequestEntityTooLarge):
        settings = services().settings
        return answer(
            problems.UPLOAD_TOO_LARGE(
                f"The request is larger than what is accepted here: {settings.max_upload_bytes / 2**20:.0f} MB for a "
                f"picture, {settings.max_batch_bytes / 2**20:.0f} MB for a batch. Make the picture smaller, for "
                "example by saving it as JPEG, or send fewer at once."
            )
        )
    if error.code is not None and 300 <= error.code < 400:
        return error.get_response()
    kind = Kind(problems.BAD_REQUEST.slug, error.code or 400, error.name)
    return answer(kind("The request is not one that a browser or an HTTP library makes. Check how it was built."))


def _store(error: RedisError) -> Response:
    log.warning("Redis does not answer: %s", error)
    return answer(
        problems.STORE_UNAVAILABLE("The job store does not answer at the moment. Nothing was kept; send it again.")
    )


def _system(error: OSError) -> Response:
    return answer(write_problem(error)) if error.errno in DISK_FULL_ERRNOS else _unexpected(error)


def _unexpected(error: Exception) -> Response:
    log.error("Unexpected error in %s %s", request.method, request.path, exc_info=error)
    return answer(problems.INTERNAL("This should not have happened. The server's log says more; try again."))
