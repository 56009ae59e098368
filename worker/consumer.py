"""Celery's consumer without the heartbeat events for monitors.

The main loop sends these events and retries them forever. If the broker disconnects at that moment, the worker neither
reconnects nor stops on SIGTERM. Live workers are recorded in the ledger instead (`common.ledger.workers`).
"""

from __future__ import annotations

from celery.worker import consumer

HEARTBEAT_STEP = "celery.worker.consumer.heart:Heart"


class Consumer(consumer.Consumer):  # type: ignore[misc]
    class Blueprint(consumer.Consumer.Blueprint):  # type: ignore[misc]
        default_steps = tuple(step for step in consumer.Consumer.Blueprint.default_steps if step != HEARTBEAT_STEP)
