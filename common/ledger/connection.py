"""Connects to the Redis that holds the ledger."""

from __future__ import annotations

from redis import Redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError, TimeoutError
from redis.retry import Retry

#: Seconds after which an unanswered connect or command counts as failed: a person is waiting for the answer.
CONNECT_SECONDS = 1.0
ANSWER_SECONDS = 5.0


def connect(url: str) -> Redis:
    """A client for `url` that fails within seconds when Redis is away, and works again when it is back."""
    return Redis.from_url(
        url,
        decode_responses=True,
        socket_connect_timeout=CONNECT_SECONDS,
        socket_timeout=ANSWER_SECONDS,
        # No health checks: a Redis whose disk is full still answers questions, but no PING.
        # One more try, at once: enough for a connection that a restarted Redis had closed.
        retry=Retry(ExponentialBackoff(cap=0.05, base=0.01), 1),
        retry_on_error=[ConnectionError, TimeoutError],
    )
