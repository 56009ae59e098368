"""Notifications are empty, and an unreachable broker is no error."""

from __future__ import annotations

import logging
import time

import pytest
from kombu.connection import Connection

from common.queue import (
    CAPTION_TASK,
    CLAIM_SIZE,
    is_broker_reachable,
    make_celery,
    notify,
    pending_notifications,
    queue_of,
)
from common.settings import Settings


@pytest.mark.parametrize(("jobs", "messages"), [(0, 0), (1, 1), (CLAIM_SIZE, 1), (CLAIM_SIZE + 1, 2)])
def test_one_notification_is_sent_per_claim_size_jobs(jobs: int, messages: int) -> None:
    celery = make_celery(Settings(broker_url="memory://"))
    with Connection("memory://") as connection:
        queue = connection.SimpleQueue("captiond", no_ack=True)
        queue.clear()  # the memory is the process's: other tests notify there, too

        assert notify(celery, jobs)

        sent = [queue.get(block=False) for _ in range(queue.qsize())]
    assert [(message.headers["task"], message.payload[:2]) for message in sent] == [(CAPTION_TASK, [[], {}])] * messages


def test_pending_notifications_are_counted() -> None:
    celery = make_celery(Settings(broker_url="memory://"))
    with Connection("memory://") as connection:
        connection.SimpleQueue("captiond", no_ack=True).clear()
    before = pending_notifications(celery)
    notify(celery, CLAIM_SIZE + 1)

    assert (before, pending_notifications(celery)) == (0, 2)


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0", "amqp://127.0.0.1:1//"])
def test_an_unreachable_broker_has_no_pending_notifications(url: str) -> None:
    assert pending_notifications(make_celery(Settings(broker_url=url))) == 0


def test_a_model_has_notifications_of_its_own() -> None:
    celery = make_celery(Settings(broker_url="memory://"))
    with Connection("memory://") as connection:
        for model in ("", "blip:large"):
            connection.SimpleQueue(queue_of(model), no_ack=True).clear()
        notify(celery, CLAIM_SIZE + 1, "blip:large")

        assert [pending_notifications(celery, model) for model in ("", "blip:large", "other")] == [0, 2, 0]


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0", "amqp://127.0.0.1:1//"])
def test_an_unreachable_broker_is_logged_without_delay(url: str, caplog: pytest.LogCaptureFixture) -> None:
    celery = make_celery(Settings(broker_url=url))

    began = time.monotonic()
    with caplog.at_level(logging.WARNING):
        assert not notify(celery, 1)

    assert "the recovery notifies" in caplog.text
    assert time.monotonic() - began < 1.5  # a client waits for it


@pytest.mark.parametrize(
    ("url", "reachable"), [("memory://", True), ("redis://127.0.0.1:1/0", False), ("amqp://127.0.0.1:1//", False)]
)
def test_reachability_of_the_broker_is_detected(url: str, reachable: bool) -> None:
    assert is_broker_reachable(make_celery(Settings(broker_url=url))) is reachable
