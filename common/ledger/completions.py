"""Hears when jobs end, for all threads of a process that wait for one, over one connection."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from redis import Redis, RedisError

from common.ledger import keys

#: Seconds between two looks at whether anybody waits still, and between two tries to reach Redis.
PAUSE = 1.0

log = logging.getLogger(__name__)


class Completions:
    """A subscription that is kept up for as long as somebody waits.

    It makes waiting quick, nothing depends on it: what is said while the connection is away is not said again, so
    whoever waits looks at the ledger now and then, too.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._lock = threading.Lock()
        self._waiting: dict[str, set[threading.Event]] = {}
        self._listening = False

    @contextmanager
    def subscribe(self, job_id: str) -> Iterator[threading.Event]:
        """An event that is set when the job may have ended. Look at the ledger after this begins, not before."""
        event = threading.Event()
        with self._lock:
            self._waiting.setdefault(job_id, set()).add(event)
            if not self._listening:
                self._listening = True
                threading.Thread(target=self._listen, name="completions", daemon=True).start()
        try:
            yield event
        finally:
            with self._lock:
                self._waiting[job_id].discard(event)
                if not self._waiting[job_id]:
                    del self._waiting[job_id]

    def _listen(self) -> None:
        while self._wanted():
            try:
                self._hear()
                return
            except RedisError as error:
                log.warning("Redis does not answer (%s); whoever waits for a caption looks by itself.", error)
                time.sleep(PAUSE)

    def _hear(self) -> None:
        with self._redis.pubsub() as channel:
            channel.subscribe(keys.ENDED)
            while self._wanted():
                message = channel.get_message(timeout=PAUSE)
                if message and message["type"] == "message":
                    self._wake(message["data"])
                elif message:  # subscribed: what ended before that was not heard
                    with self._lock:
                        everybody = list(self._waiting)
                    self._wake(*everybody)

    def _wanted(self) -> bool:
        with self._lock:
            self._listening = bool(self._waiting)
            return self._listening

    def _wake(self, *job_ids: str) -> None:
        with self._lock:
            for job_id in job_ids:
                for event in self._waiting.get(job_id, ()):
                    event.set()
