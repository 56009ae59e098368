"""The worker's main loop does nothing that waits for the broker for ever."""

from __future__ import annotations

from celery import Celery
from celery.worker.consumer import Consumer as CelerysConsumer
from kombu.utils.imports import symbol_by_name


def test_the_worker_sends_no_heartbeat_events_and_does_all_else_that_celery_does(celery: Celery) -> None:
    consumer = symbol_by_name(celery.conf.worker_consumer)

    left_out = set(CelerysConsumer.Blueprint().claim_steps()) - set(consumer.Blueprint().claim_steps())

    assert left_out == {"celery.worker.consumer.heart.Heart"}
