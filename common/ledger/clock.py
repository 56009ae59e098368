"""The ledger's clock: the time of the Redis server, shared by all machines."""

from __future__ import annotations

from collections.abc import Callable

from redis import Redis


def redis_clock(redis: Redis) -> Callable[[], float]:
    """A clock that asks Redis for the Unix time in seconds.

    Any worker may recover another's leases. With each machine's own clock, a fast one would end all other leases early.
    """

    def now() -> float:
        seconds, microseconds = redis.time()
        return seconds + microseconds / 1e6

    return now
