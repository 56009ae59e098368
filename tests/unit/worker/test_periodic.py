"""A thread of a worker goes on after errors."""

from __future__ import annotations

import logging
import threading

import pytest
from redis import ConnectionError

from tests.unit.worker.fakes import TIMEOUT
from worker.periodic import periodic_thread


@pytest.mark.parametrize(
    ("error", "level", "lines"),
    [(ConnectionError("away"), logging.WARNING, 1), (ValueError("odd"), logging.ERROR, 5)],
)
def test_a_thread_continues_after_errors_and_logs_an_outage_once(
    caplog: pytest.LogCaptureFixture, error: Exception, level: int, lines: int
) -> None:
    errors, succeeded = [error] * 5, threading.Event()

    def act() -> None:
        if errors:
            raise errors.pop()
        succeeded.set()

    ended = threading.Event()
    thread = periodic_thread("heartbeat", 0.001, act, ended)
    thread.start()

    assert succeeded.wait(TIMEOUT)
    ended.set()
    thread.join(TIMEOUT)
    assert not thread.is_alive()
    assert [record.levelno for record in caplog.records if record.threadName == "heartbeat"] == [level] * lines
