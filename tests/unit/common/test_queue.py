"""Notifications carry nothing, and a silent broker is no error."""

from __future__ import annotations

import logging
import time

import pytest
from kombu.connection import Connection

from common.queue import CAPTION_TASK, CLAIM_SIZE, answers, make_celery, notify, pending
from common.settings import Settings


@pytest.mark.parametrize(("jobs", "messages"), [(0, 0), (1, 1), (CLAIM_SIZE, 1), (CLAIM_SIZE + 1, 2)])
def test_a_notification_names_the_task_and_stands_for_as_many_jobs_as_are_claimed_at_once(
    jobs: int, messages: int
) -> None:
    celery = make_celery(Settings(broker_url="memory://"))
    with Connection("memory://") as connection:
        queue = connection.SimpleQueue("captiond", no_ack=True)
        queue.clear()  # the memory is the process's: other tests notify there, too

        assert notify(celery, jobs)

        sent = [queue.get(block=False) for _ in range(queue.qsize())]
    assert [(message.headers["task"], message.payload[:2]) for message in sent] == [(CAPTION_TASK, [[], {}])] * messages


def test_how_many_notifications_were_not_taken_is_known() -> None:
    celery = make_celery(Settings(broker_url="memory://"))
    with Connection("memory://") as connection:
        connection.SimpleQueue("captiond", no_ack=True).clear()
    before = pending(celery)
    notify(celery, CLAIM_SIZE + 1)

    assert (before, pending(celery)) == (0, 2)


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0", "amqp://127.0.0.1:1//"])
def test_of_a_broker_that_is_away_no_notification_is_known(url: str) -> None:
    assert pending(make_celery(Settings(broker_url=url))) == 0


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0", "amqp://127.0.0.1:1//"])
def test_a_broker_that_is_away_is_logged_and_survived_at_once(url: str, caplog: pytest.LogCaptureFixture) -> None:
    celery = make_celery(Settings(broker_url=url))

    began = time.monotonic()
    with caplog.at_level(logging.WARNING):
        assert not notify(celery, 1)

    assert "the recovery notifies" in caplog.text
    assert time.monotonic() - began < 1.5  # a client waits for it


@pytest.mark.parametrize(
    ("url", "here"), [("memory://", True), ("redis://127.0.0.1:1/0", False), ("amqp://127.0.0.1:1//", False)]
)
def test_whether_a_broker_can_be_reached_is_known(url: str, here: bool) -> None:
    assert answers(make_celery(Settings(broker_url=url))) is here
