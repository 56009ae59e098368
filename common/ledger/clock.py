"""The ledger's clock: Redis' own, one for all machines."""

from __future__ import annotations

from collections.abc import Callable

from redis import Redis


def clock_of(redis: Redis) -> Callable[[], float]:
    """A clock that asks Redis for the Unix time, in seconds.

    Leases are compared by whoever recovers jobs: by the machines' own clocks, one that is fast would take the jobs of
    all the others away.
    """

    def now() -> float:
        seconds, microseconds = redis.time()
        return seconds + microseconds / 1e6

    return now
