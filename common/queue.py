"""The Celery configuration and the name of its task, so that web can notify without importing the worker."""

from __future__ import annotations

import logging

from celery import Celery
from kombu.exceptions import OperationalError

from common.settings import Settings

CAPTION_TASK = "captiond.caption"
QUEUE = "captiond"

#: Most jobs that a worker's thread claims at once, and that one notification stands for. No more than one call of the
#: model takes, so that several workers share even a small batch.
CLAIM_SIZE = 8

#: Task threads per picture of a full batch: one batch is decoded while another is captioned.
THREADS_PER_PICTURE = 2
#: Task threads that take no jobs of batches, so that an interactive one never waits for a thread.
INTERACTIVE_THREADS = 2

#: Seconds after which a broker that does not take a connection counts as away.
BROKER_SECONDS = 2.0

log = logging.getLogger(__name__)


def make_celery(settings: Settings) -> Celery:
    """Celery as this service uses it: its messages are notifications that jobs wait, and carry nothing.

    Early acknowledgement is safe as the ledger, not the broker, has the queue; late acknowledgement on a threads pool
    ends the worker when Redis restarts.
    """
    celery = Celery("captiond", broker=settings.broker_location)
    celery.conf.update(
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
        # A Redis whose disk or memory is full answers with an error, at which the worker would end itself.
        broker_channel_error_retry=True,
        broker_connection_timeout=BROKER_SECONDS,
        broker_transport_options={
            "visibility_timeout": 600,
            "unacked_restore_interval": 5,
            "socket_keepalive": True,
            "socket_connect_timeout": BROKER_SECONDS,
            "socket_timeout": 30.0,
            "health_check_interval": 10,
            "max_retries": 1,
            # Between the two tries; two seconds unless told, for which a client would wait with its picture.
            "interval_start": 0.05,
            "interval_max": 0.05,
        },
    )
    return celery


def notify(celery: Celery, jobs: int) -> bool:
    """Notify the workers that so many jobs wait, once for `CLAIM_SIZE` of them; False when it could not be done.

    A broker that does not answer is only logged: the jobs are in the ledger, and the recovery notifies again.
    """
    if not jobs:
        return True
    try:
        with celery.producer_or_acquire() as producer:
            for _ in range(0, jobs, CLAIM_SIZE):
                celery.send_task(CAPTION_TASK, producer=producer, retry=False)
    except (OperationalError, OSError) as error:
        log.warning("The broker does not answer (%s); the recovery notifies the workers later.", error)
        return False
    return True


def pending(celery: Celery) -> int:
    """How many notifications no worker has taken yet, as far as the broker says."""
    with celery.connection_for_write() as connection:
        try:
            connection.ensure_connection(max_retries=1, interval_start=0, timeout=BROKER_SECONDS)
            return int(connection.default_channel.queue_declare(QUEUE, passive=True).message_count)
        except (OperationalError, OSError, *connection.channel_errors, *connection.connection_errors):
            return 0  # it does not answer, or has no such queue, as none was sent or all were taken


def answers(celery: Celery) -> bool:
    """Whether the broker can be reached."""
    try:
        with celery.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, timeout=BROKER_SECONDS)
    except (OperationalError, OSError):
        return False
    return True
