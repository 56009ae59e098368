"""Celery's configuration and the name of its task. With these, web notifies workers without importing them."""

from __future__ import annotations

import logging
from typing import Any

from celery import Celery
from kombu.exceptions import OperationalError

from common import sentinel
from common.sentinel import SentinelUrl
from common.settings import Settings

CAPTION_TASK = "captiond.caption"
#: The queue of notifications of jobs that ask for no model.
QUEUE = "captiond"

#: Largest number of jobs that a worker thread claims at once, and that a notification stands for. It does not exceed
#: a model call, so that several workers share even a small batch.
CLAIM_SIZE = 8

#: Task threads per picture of a full batch: one batch is decoded while the previous one is captioned.
THREADS_PER_PICTURE = 2
#: Task threads reserved for interactive jobs, so that these never wait for a thread.
INTERACTIVE_THREADS = 2

#: Timeout of connecting to the broker, in seconds.
BROKER_TIMEOUT = 2.0

log = logging.getLogger(__name__)


def make_celery(settings: Settings) -> Celery:
    """Create the service's Celery app. Its messages are empty notifications that jobs wait.

    Early acknowledgement is safe because the ledger, not the broker, holds the queue. With late acknowledgement, a
    worker with a threads pool ends when Redis restarts.
    """
    url, sentinel_options, ssl = _broker(settings.broker_location)
    celery = Celery("captiond", broker=url)
    celery.conf.update(
        broker_use_ssl=ssl,
        task_default_queue=QUEUE,
        task_acks_late=False,
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        task_serializer="json",
        accept_content=["json"],
        worker_pool="threads",
        worker_consumer="worker.consumer:Consumer",
        worker_concurrency=THREADS_PER_PICTURE * settings.max_batch + INTERACTIVE_THREADS,
        worker_prefetch_multiplier=1,
        worker_soft_shutdown_timeout=30.0,
        worker_hijack_root_logger=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # Without this, the worker ends when Redis answers with an error because its disk or memory is full.
        broker_channel_error_retry=True,
        broker_connection_timeout=BROKER_TIMEOUT,
        broker_transport_options={
            "visibility_timeout": 600,
            "unacked_restore_interval": 5,
            "socket_keepalive": True,
            "socket_connect_timeout": BROKER_TIMEOUT,
            "socket_timeout": 30.0,
            "health_check_interval": 10,
            "max_retries": 1,
            # Seconds between the two attempts. The default of two seconds would delay a client's request.
            "interval_start": 0.05,
            "interval_max": 0.05,
            **sentinel_options,
        },
    )
    return celery


def _broker(url: str) -> tuple[str, dict[str, Any], dict[str, Any] | None]:
    """Celery's URL, transport options and TLS options for a broker in the form of `Settings.redis_url`."""
    if url.startswith(f"{sentinel.SCHEME}:"):
        parsed = SentinelUrl.parse(url)
        return parsed.broker_url(), parsed.broker_options(), parsed.broker_ssl()
    if url.startswith("rediss:"):  # Celery would not verify the certificate; options of the URL replace this one
        return url, {}, {"ssl_cert_reqs": "required"}
    # A Unix socket's scheme is `redis+socket` in Celery and `unix` in redis-py.
    return ("redis+socket" + url.removeprefix("unix") if url.startswith("unix:") else url), {}, None


def queue_of(model: str) -> str:
    """The queue of the notifications of jobs that ask for `model`, '' for none. Only workers with it receive these."""
    return f"{QUEUE}:{model}" if model else QUEUE


def notify(celery: Celery, jobs: int, model: str = "") -> bool:
    """Notify the workers that `jobs` jobs wait which ask for `model`, '' for none. Returns whether it succeeded.

    A notification stands for `CLAIM_SIZE` jobs.
    An unreachable broker is only logged, because the jobs are in the ledger and the recovery notifies again.
    """
    if not jobs:
        return True
    try:
        with celery.producer_or_acquire() as producer:
            for _ in range(0, jobs, CLAIM_SIZE):
                celery.send_task(CAPTION_TASK, producer=producer, retry=False, queue=queue_of(model))
    except (OperationalError, OSError) as error:
        log.warning("The broker does not answer (%s); the recovery notifies the workers later.", error)
        return False
    return True


def pending_notifications(celery: Celery, model: str = "") -> int:
    """Return the number of notifications in the broker's queue of `model`; 0 if it does not answer."""
    with celery.connection_for_write() as connection:
        try:
            connection.ensure_connection(max_retries=1, interval_start=0, timeout=BROKER_TIMEOUT)
            return int(connection.default_channel.queue_declare(queue_of(model), passive=True).message_count)
        except (OperationalError, OSError, *connection.channel_errors, *connection.connection_errors):
            return 0  # the broker does not answer, or the queue does not exist because it is empty


def is_broker_reachable(celery: Celery) -> bool:
    """Return whether the broker accepts connections."""
    try:
        with celery.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, timeout=BROKER_TIMEOUT)
    except (OperationalError, OSError):
        return False
    return True
