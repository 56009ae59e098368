"""The `traceparent` of a request is kept with the jobs and the batch that it creates."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from redis import Redis

from common.ledger import Components
from tests.support.archives import zipped
from tests.support.images import encoded
from tests.support.spans import collected_spans, parent_of, traceparent_of
from tests.unit.web.client import Client

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
HEADERS = {"traceparent": TRACEPARENT}


def single(client: Client) -> str:
    answer = client.post("/v1/jobs", data=encoded(), content_type="image/png", headers=HEADERS)
    return str(answer.json["id"])


def in_form(client: Client) -> str:
    data = {"images": [(io.BytesIO(encoded()), "a.png")]}
    batch = client.post("/v1/batches", data=data, headers=HEADERS).json["id"]
    return str(client.get(f"/v1/batches/{batch}/jobs").json["jobs"][0]["id"])


def item(client: Client) -> str:
    batch = client.post("/v1/batches", json={}).json["id"]
    answer = client.post(f"/v1/batches/{batch}/items", data=encoded(), content_type="image/png", headers=HEADERS)
    return str(answer.json["id"])


@pytest.mark.parametrize("submit", [single, in_form, item])
def test_a_job_keeps_the_trace_of_its_request(
    client: Client, components: Components, submit: Callable[[Client], str]
) -> None:
    job_id = submit(client)

    (claim,) = components.ledger.claim_next(1).claims
    assert (claim.id, claim.traceparent) == (job_id, TRACEPARENT)
    assert components.ledger.origin(job_id).traceparent == TRACEPARENT
    assert "4bf92f35" not in client.get(f"/v1/jobs/{job_id}").text


def test_an_archive_keeps_the_trace_of_its_request(client: Client, components: Components) -> None:
    batch = client.post(
        "/v1/batches", data=zipped({"a.png": encoded()}), content_type="application/zip", headers=HEADERS
    ).json["id"]

    claim = components.archives.claim()
    assert claim and (claim.id, claim.traceparent) == (batch, TRACEPARENT)
    assert components.batches.origin(batch).traceparent == TRACEPARENT


def test_an_invalid_header_is_ignored(client: Client, components: Components, redis: Redis) -> None:
    job = client.post("/v1/jobs", data=encoded(), content_type="image/png", headers={"traceparent": "a\tb"}).json

    assert redis.hget(f"job:{job['id']}", "_traceparent") is None


def test_with_opentelemetry_the_job_keeps_the_span_of_its_submission(client: Client, components: Components) -> None:
    with collected_spans() as exported:
        job_id = single(client)

    (span,) = exported.get_finished_spans()
    assert (span.name, parent_of(span)) == ("submit", TRACEPARENT)
    assert components.ledger.origin(job_id).traceparent == traceparent_of(span)
