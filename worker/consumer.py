"""Celery's consumer, without the heartbeat events that it sends to monitors.

Such an event is sent from the main loop and tried again for ever: if the broker goes away just then, the worker neither
connects again by itself nor ends on SIGTERM. Who is alive is told in the ledger (`common.ledger.workers`).
"""

from __future__ import annotations

from celery.worker import consumer

HEART = "celery.worker.consumer.heart:Heart"


class Consumer(consumer.Consumer):  # type: ignore[misc]
    class Blueprint(consumer.Consumer.Blueprint):  # type: ignore[misc]
        default_steps = tuple(step for step in consumer.Consumer.Blueprint.default_steps if step != HEART)
