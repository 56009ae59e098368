"""Requests made up from the description of the API, right ones and wrong ones: each answer is as described."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
import schemathesis
from flask import Flask
from hypothesis import HealthCheck, Phase, settings, strategies
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks
from schemathesis.transport.wsgi import WSGI_TRANSPORT

from tests.support.images import encoded
from tests.unit.web.client import MODEL, Client
from web.api.openapi import document

#: Requests made up for each operation; all of them take about ten seconds.
EXAMPLES = 40
CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]

PICTURES = [encoded(), encoded(format="PNG"), encoded(format="GIF"), encoded()[:2000]]
schemathesis.openapi.format("binary", strategies.sampled_from(PICTURES) | strategies.binary(max_size=200))

schema = schemathesis.openapi.from_dict(document())


@pytest.fixture
def known(app: Flask, announce: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A job and a batch that there are; nobody captions them, and so nobody waits for them."""
    monkeypatch.setattr("web.api.preferences.LONGEST", 0)
    announce(MODEL)
    client: Client = app.test_client()
    job, batch = (
        client.post(path, data={field: (io.BytesIO(encoded()), "ball.jpg")}).json["id"]
        for path, field in (("/v1/jobs", "image"), ("/v1/batches", "images"))
    )
    return {"job_id": job, "batch_id": batch}


@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_the_answer_is_as_described(case: schemathesis.Case[Any], app: Flask, known: dict[str, str]) -> None:
    for name, made_up in case.path_parameters.items():
        if len(str(made_up)) % 2:  # the others stay made up
            case.path_parameters[name] = known[name]

    answer = WSGI_TRANSPORT.send(case, app=app)

    case.validate_response(answer, checks=CHECKS)
