"""Counters in the ledger, which every web server and worker adds to: the hash `metrics`.

Scripts count what they do to jobs in the step that does it, so that a repeated script counts nothing twice. `Counters`
counts the rest.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable

from redis import Redis, RedisError

from common.ledger import keys

#: Upper bounds of the buckets of durations, in seconds. The scripts have the same.
SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 60, 120, 300, 600, 1800, 3600, 14400)
#: Upper bounds of the buckets of the number of pictures in a model call.
SIZES = (1, 2, 4, 8, 16, 32, 64)
#: Seconds without an attempt after Redis refused a count, so that answers do not wait for Redis while it is away.
RETRY_DELAY = 5.0


class Counters:
    """Counts events. Never raises: what Redis does not accept is counted with a later event of this process."""

    def __init__(self, redis: Redis, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._redis = redis
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._pending: Counter[str] = Counter()
        self._retry_at = 0.0

    def count(self, field: str) -> None:
        """Count an event in a field of `metrics`."""
        with self._lock:
            self._pending[field] += 1
            if self._monotonic() < self._retry_at:
                return
            pending, self._pending = self._pending, Counter()
        pipe = self._redis.pipeline(transaction=False)
        for name, number in pending.items():
            pipe.hincrby(keys.METRICS, name, number)
        try:
            pipe.execute()
        except RedisError:
            with self._lock:
                self._pending += pending
                self._retry_at = self._monotonic() + RETRY_DELAY
