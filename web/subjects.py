"""The ids in a request's path, and its trace, on its log lines."""

from __future__ import annotations

from contextlib import ExitStack

from flask import Flask, g, request

from common import logs
from common.jobs import is_id
from common.logs import Subject
from common.tracing import parse_traceparent


def log_subjects(app: Flask) -> None:
    """Put the job, batch and trace that a request of `app` names on the log lines of its thread."""

    @app.before_request
    def enter() -> None:
        arguments = request.view_args or {}
        # Clients may write anything in a path, also line breaks.
        ids = {name: value for name, value in arguments.items() if name in ("job_id", "batch_id") and is_id(value)}
        g.subjects = ExitStack()
        g.subjects.enter_context(logs.about(Subject(**ids, traceparent=requested_traceparent())))

    @app.teardown_request
    def leave(error: BaseException | None) -> None:
        if subjects := g.pop("subjects", None):
            subjects.close()


def requested_traceparent() -> str | None:
    """The trace of the request, if it has a valid one."""
    return parse_traceparent(request.headers.get("traceparent"))
