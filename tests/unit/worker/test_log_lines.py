"""Log lines of the worker that concern a job or batch have its id, in whichever thread they are written."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest
from redis import Redis

from common import logs
from common.jobs import Job, new_id
from common.ledger import Components, Ledger, NewJob
from common.outbound import Response, UrlNotAllowed
from tests.support.clock import Clock
from tests.unit.worker.fakes import FakeCaptioner
from worker.webhooks import WebhookSender

MakeJob = Callable[..., Job]
RunTask = Callable[..., None]

BATCH = new_id()


@pytest.fixture(autouse=True)
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Captured records with the fields that the service's handler sets."""
    caplog.handler.addFilter(logs.add_subjects)
    caplog.set_level(logging.INFO)
    return caplog


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[str, Any, Any]]:
    """Thread, job and batch of each line of the project and its tests."""
    return [
        ("model" if record.threadName == "model" else "task", vars(record).get("job_id"), vars(record).get("batch_id"))
        for record in caplog.records
        if record.name.startswith(("worker", "common", "tests"))
    ]


def test_a_line_of_the_model_thread_has_the_ids_of_the_images_in_its_call(
    captioner: FakeCaptioner, create_job: MakeJob, run_task: RunTask, log: pytest.LogCaptureFixture
) -> None:
    job = create_job(batch=BATCH)
    captioner.on_caption = lambda: logging.getLogger("tests").warning("slow")
    run_task()

    assert lines(log) == [("model", job.id, BATCH)]


def test_lines_of_the_task_have_the_id_of_the_job_that_fails(
    captioner: FakeCaptioner, create_job: MakeJob, run_task: RunTask, log: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise ValueError

    captioner.on_prepare = fail
    job = create_job()
    run_task()
    captioner.on_prepare = lambda: None
    captioner.on_caption = fail
    other = create_job(batch=BATCH)
    run_task()

    assert lines(log) == [("task", job.id, None), ("task", other.id, BATCH)]


def test_a_discarded_result_names_its_job(
    ledger: Ledger,
    captioner: FakeCaptioner,
    create_job: MakeJob,
    run_task: RunTask,
    log: pytest.LogCaptureFixture,
) -> None:
    job = create_job()
    captioner.on_caption = lambda: ledger.cancel(job.id)
    run_task()

    assert lines(log) == [("task", job.id, None)]


class NoOutbound:
    """Refuses every URL."""

    def request(self, *arguments: object, **options: object) -> Response:
        raise UrlNotAllowed("It is private.")


def test_a_webhook_s_lines_have_the_id_of_its_job(
    components: Components, clock: Clock, redis: Redis, log: pytest.LogCaptureFixture
) -> None:
    job = components.ledger.create(new_id(), NewJob(webhook="https://example.test/hook"))
    components.ledger.cancel(job.id)
    outbound: Any = NoOutbound()
    sender = WebhookSender(components.outbox, components.ledger, components.batches, outbound, clock=clock)

    sender.deliver(threading.Event())

    assert lines(log) == [("task", job.id, None)]
