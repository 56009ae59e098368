"""Redis client of the ledger."""

from __future__ import annotations

from redis import Redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError, TimeoutError
from redis.retry import Retry

from common import sentinel
from common.sentinel import SentinelUrl

#: Timeouts in seconds; short, as a client waits for the response.
CONNECT_TIMEOUT = 1.0
COMMAND_TIMEOUT = 5.0


def connect(url: str) -> Redis:
    """A client for `url` that fails within seconds while Redis is unavailable and reconnects by itself.

    With Sentinels, each new connection is to the primary that they name at that moment.
    """
    options = {
        "decode_responses": True,
        "socket_connect_timeout": CONNECT_TIMEOUT,
        "socket_timeout": COMMAND_TIMEOUT,
        # No health checks: with a full disk, Redis still answers reads but rejects PING.
        # One immediate retry is enough for a connection that a Redis restart closed.
        "retry": Retry(ExponentialBackoff(cap=0.05, base=0.01), 1),
        "retry_on_error": [ConnectionError, TimeoutError],
    }
    if url.startswith(f"{sentinel.SCHEME}:"):
        return SentinelUrl.parse(url).client(**options)
    return Redis.from_url(url, **options)
