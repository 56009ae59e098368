"""Log lines of a request have the job and batch of its path."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from flask import Flask

from common import logs
from common.jobs import new_id
from tests.unit.web.client import Client


@pytest.fixture
def logged(app: Flask, client: Client, caplog: pytest.LogCaptureFixture) -> Any:
    """Requests a path whose view logs a line; returns the line's job and batch."""
    caplog.handler.addFilter(logs.add_subjects)

    def view(**arguments: str) -> str:
        logging.getLogger("web").warning("a line")
        return "answer"

    app.add_url_rule("/try/<batch_id>/<job_id>", "try", view)
    app.add_url_rule("/try", "try", view)

    def request(path: str) -> tuple[Any, Any]:
        caplog.clear()
        client.get(path)
        (record,) = caplog.records
        return vars(record).get("job_id"), vars(record).get("batch_id")

    return request


def test_the_ids_of_the_path_are_on_the_lines_of_its_request_only(logged: Any) -> None:
    job_id, batch_id = new_id(), new_id()

    assert logged(f"/try/{batch_id}/{job_id}") == (job_id, batch_id)
    assert logged("/try") == (None, None)


def test_what_is_no_id_is_left_out(logged: Any) -> None:
    assert logged("/try/a%0ab/c") == (None, None)
