"""Ringing carries only ids, and a silent broker is no error."""

from __future__ import annotations

import logging
import time

import pytest
from kombu.connection import Connection

from common.queue import CAPTION_TASK, RING_SIZE, answers, make_celery, ring
from common.settings import Settings


def test_a_message_names_the_task_and_carries_some_ids_only() -> None:
    celery = make_celery(Settings(broker_url="memory://"))
    ids = [f"id-{number}" for number in range(RING_SIZE + 1)]

    assert ring(celery, ids)

    with Connection("memory://") as connection:
        queue = connection.SimpleQueue("captiond", no_ack=True)  # the memory is the process's: other tests ring there
        messages = [queue.get(block=False) for _ in range(queue.qsize())][-2:]
    assert [message.headers["task"] for message in messages] == [CAPTION_TASK] * 2
    assert [message.payload[0] for message in messages] == [[ids[:RING_SIZE]], [ids[RING_SIZE:]]]


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0", "amqp://127.0.0.1:1//"])
def test_a_broker_that_is_away_is_logged_and_survived_at_once(url: str, caplog: pytest.LogCaptureFixture) -> None:
    celery = make_celery(Settings(broker_url=url))

    began = time.monotonic()
    with caplog.at_level(logging.WARNING):
        assert not ring(celery, ["id-1"])

    assert "sweeper will ring" in caplog.text
    assert time.monotonic() - began < 1.5  # a client waits for it


@pytest.mark.parametrize(
    ("url", "here"), [("memory://", True), ("redis://127.0.0.1:1/0", False), ("amqp://127.0.0.1:1//", False)]
)
def test_whether_a_broker_can_be_reached_is_known(url: str, here: bool) -> None:
    assert answers(make_celery(Settings(broker_url=url))) is here
