"""A job keeps the trace of its submission: in its spans, its log lines and its webhook."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from common import logs
from common.jobs import new_id
from common.ledger import Batches, Components, Ledger, NewBatch, NewJob
from common.outbound import Outbound
from common.uploads import UploadStore
from tests.support.clock import Clock
from tests.support.images import IMAGE, encoded
from tests.support.receiver import Receiver, running_receiver
from tests.support.spans import collected_spans, parent_of
from tests.unit.worker.fakes import FakeCaptioner, with_timeout
from worker.webhooks import WebhookSender

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
def exported() -> Iterator[InMemorySpanExporter]:
    with collected_spans() as exporter:
        yield exporter


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running_receiver() as running:
        yield running


@pytest.fixture
def traced_job(ledger: Ledger, uploads: UploadStore) -> str:
    """The id of a job whose request had a trace."""
    job_id, data = new_id(), encoded()
    uploads.save(job_id, data)
    image = IMAGE.model_copy(update={"sha256": hashlib.sha256(data).hexdigest()})
    return ledger.create(job_id, NewJob(input=image, traceparent=TRACEPARENT)).id


def test_the_spans_of_a_job_are_children_of_its_submission(
    traced_job: str, exported: InMemorySpanExporter, run_task: Callable[[], None], clock: Clock
) -> None:
    clock.advance(2)
    run_task()

    spans = {span.name: span for span in exported.get_finished_spans()}
    assert list(spans) == ["queue", "load", "model", "write"]
    assert {parent_of(span) for span in spans.values()} == {TRACEPARENT}
    assert {(span.attributes or {}).get("captiond.job_id") for span in spans.values()} == {traced_job}
    queue = spans["queue"]
    assert (queue.end_time or 0) - (queue.start_time or 0) == pytest.approx(2e9)


def test_the_lines_of_a_job_have_its_trace(
    traced_job: str, captioner: FakeCaptioner, run_task: Callable[[], None], caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise ValueError

    caplog.handler.addFilter(logs.add_subjects)
    captioner.on_caption = fail
    run_task()

    (record,) = caplog.records
    assert (vars(record)["job_id"], vars(record)["traceparent"]) == (traced_job, TRACEPARENT)


@pytest.mark.parametrize("kind", ["job", "batch"])
def test_a_webhook_has_the_trace(
    components: Components, ledger: Ledger, batches: Batches, clock: Clock, receiver: Receiver, kind: str
) -> None:
    url = receiver.url()
    if kind == "job":
        ledger.cancel(ledger.create(new_id(), NewJob(input=IMAGE, webhook=url, traceparent=TRACEPARENT)).id)
    else:
        batches.create(batch := new_id(), NewBatch(webhook=url, traceparent=TRACEPARENT))
        batches.seal(batch)
    sender = WebhookSender(components.outbox, ledger, batches, Outbound(True), clock=clock)

    with_timeout(lambda: sender.deliver(threading.Event()))

    (asked,) = receiver.requests
    assert asked.headers["traceparent"] == TRACEPARENT


@pytest.fixture
def batches(components: Components) -> Batches:
    return components.batches
