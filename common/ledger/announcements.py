"""Puts what webhooks are to be told into the outbox, within the transaction that makes it true."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

from redis.client import Pipeline

from common.jobs import Job
from common.ledger import keys

#: Member of a batch's open jobs while more may be added.
SENDING = "sending"

#: Queues commands for a transaction.
Commands = Callable[[Pipeline], None]


def announce(pipe: Pipeline, about: str, type: str, url: str, since: float) -> None:
    """Queue what makes the webhook about that job or batch due; the event was at the Unix time `since`."""
    host = host_of(url)
    pipe.hset(keys.webhook(about), mapping={"type": type, "url": url, "since": since})
    pipe.zadd(keys.webhooks_to(host), {about: since})
    pipe.zadd(keys.WEBHOOK_HOSTS, {host: since})


def announce_job(pipe: Pipeline, job: Job, url: str) -> None:
    """Queue the webhook about a job that has ended and belongs to no batch."""
    assert job.completed_at is not None
    announce(pipe, job.id, f"job.{job.status.value}", url, job.completed_at.timestamp())


def leave_batch(pipe: Pipeline, batch_id: str, member: str, url: str, now: float) -> Commands:
    """What to queue when one of a batch's open jobs has ended or is gone, or all are sent: maybe its webhook.

    Call it between WATCH and MULTI: whether it is the last is read here, and watched.
    """
    still_open = keys.batch_open(batch_id)
    pipe.watch(still_open)
    last = pipe.scard(still_open) == 1 and bool(pipe.sismember(still_open, member))

    def leave(pipe: Pipeline) -> None:
        pipe.srem(still_open, member)
        if last:
            announce(pipe, batch_id, "batch.completed", url, now)

    return leave


def tell_of_end(pipe: Pipeline, job: Job, url: str) -> Commands:
    """What to queue when `job` has ended; call it between WATCH and MULTI, likewise."""
    if job.batch is None:
        return lambda pipe: announce_job(pipe, job, url)
    assert job.completed_at is not None
    return leave_batch(pipe, job.batch, job.id, url, job.completed_at.timestamp())


def withdraw(pipe: Pipeline, about: str, url: str) -> None:
    """Queue what forgets the webhook about that job or batch."""
    pipe.delete(keys.webhook(about))
    pipe.zrem(keys.webhooks_to(host_of(url)), about)
    pipe.zrem(keys.WEBHOOKS_GIVEN_UP, about)


def host_of(url: str) -> str:
    """Whose turn it is to be told; a URL in the ledger was checked when it came."""
    return urlsplit(url).hostname or ""
