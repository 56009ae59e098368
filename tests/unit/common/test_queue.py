"""Ringing carries only ids, and a silent broker is no error."""

from __future__ import annotations

import logging

import pytest
from kombu.connection import Connection

from common.queue import CAPTION_TASK, make_celery, ring
from common.settings import Settings


def test_a_bell_names_the_task_and_carries_the_id_only() -> None:
    celery = make_celery(Settings(broker_url="memory://"))

    ring(celery, ["id-1", "id-2"])

    with Connection("memory://") as connection:
        queue = connection.SimpleQueue("captiond")
        messages = [queue.get(block=False) for _ in range(2)]
    assert [message.headers["task"] for message in messages] == [CAPTION_TASK] * 2
    assert [message.payload[0] for message in messages] == [["id-1"], ["id-2"]]


def test_a_broker_that_is_away_is_logged_and_survived(caplog: pytest.LogCaptureFixture) -> None:
    celery = make_celery(Settings(broker_url="redis://127.0.0.1:1/0"))

    with caplog.at_level(logging.WARNING):
        ring(celery, ["id-1"])

    assert "sweeper will ring" in caplog.text
