"""Property-based tests: responses to generated requests, valid and invalid, match the OpenAPI document."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
import schemathesis
from flask import Flask
from hypothesis import HealthCheck, Phase, given, settings, strategies
from schemathesis.checks import not_a_server_error
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi import checks
from schemathesis.transport.wsgi import WSGI_TRANSPORT

from tests.support.images import encoded
from tests.unit.web.client import MODEL, Client
from web.api.openapi import document

#: Generated requests for each operation; all of them take about ten seconds.
MAX_EXAMPLES = 40
CHECKS = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]

IMAGES = [encoded(), encoded(format="PNG"), encoded(format="GIF"), encoded()[:2000]]
schemathesis.openapi.format("binary", strategies.sampled_from(IMAGES) | strategies.binary(max_size=200))


@schemathesis.serializer("application/zip", "application/x-zip-compressed")
def archive_bytes(context: object, value: bytes) -> bytes:
    return value


schema = schemathesis.openapi.from_dict(document())
OPERATIONS = [result.ok() for result in schema.get_all_operations()]  # type: ignore[union-attr]


@pytest.fixture
def existing_ids(app: Flask, announce: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Ids of a job and a batch. No worker finishes them, so requests do not wait."""
    monkeypatch.setattr("web.api.preferences.MAX_WAIT", 0)
    monkeypatch.setattr("web.compat.captioning.WAIT_SECONDS", 0)
    announce(MODEL)
    client: Client = app.test_client()
    job, batch = (
        client.post(path, data={field: (io.BytesIO(encoded()), "ball.jpg")}).json["id"]
        for path, field in (("/v1/jobs", "image"), ("/v1/batches", "images"))
    )
    return {"job_id": job, "batch_id": batch}


# Not `schema.parametrize`, which gives all operations the same id, so that pytest-xdist would run one of them only.
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label)
def test_a_response_matches_its_description(
    operation: APIOperation[Any, Any, Any, Any], app: Flask, existing_ids: dict[str, str]
) -> None:
    @given(case=operation.as_strategy())
    @settings(
        max_examples=MAX_EXAMPLES,
        deadline=None,
        derandomize=True,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def send(case: schemathesis.Case[Any]) -> None:
        for name, generated in case.path_parameters.items():
            if len(str(generated)) % 2:  # about half of the ids stay generated
                case.path_parameters[name] = existing_ids[name]

        answer = WSGI_TRANSPORT.send(case, app=app)

        # The only server error is that of a caption that is not ready.
        case.validate_response(answer, checks=CHECKS if answer.status_code == 503 else [not_a_server_error, *CHECKS])

    send()
