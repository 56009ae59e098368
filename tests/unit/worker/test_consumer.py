"""The Celery consumer without heartbeat events."""

from __future__ import annotations

from celery import Celery
from celery.worker.consumer import Consumer as CeleryConsumer
from kombu.utils.imports import symbol_by_name


def test_only_the_heartbeat_step_is_removed_from_the_consumer(celery: Celery) -> None:
    consumer = symbol_by_name(celery.conf.worker_consumer)

    removed = set(CeleryConsumer.Blueprint().claim_steps()) - set(consumer.Blueprint().claim_steps())

    assert removed == {"celery.worker.consumer.heart.Heart"}
