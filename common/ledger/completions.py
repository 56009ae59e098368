"""One Redis subscription per process, which wakes threads when the jobs they wait for end."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from redis import Redis, RedisError

from common.ledger import keys

#: Seconds between two checks for remaining subscribers, and between two attempts to reach Redis.
POLL_INTERVAL = 1.0

log = logging.getLogger(__name__)


class Completions:
    """Subscription to ended jobs, open while a thread waits.

    It only shortens waiting. Messages published during a disconnection are lost, so callers must also poll the ledger.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._lock = threading.Lock()
        self._events: dict[str, set[threading.Event]] = {}
        self._listening = False

    @contextmanager
    def subscribe(self, job_id: str) -> Iterator[threading.Event]:
        """An event that is set when the job may have ended. Read the job after subscribing, not before."""
        event = threading.Event()
        with self._lock:
            self._events.setdefault(job_id, set()).add(event)
            if not self._listening:
                self._listening = True
                threading.Thread(target=self._listen, name="completions", daemon=True).start()
        try:
            yield event
        finally:
            with self._lock:
                self._events[job_id].discard(event)
                if not self._events[job_id]:
                    del self._events[job_id]

    def _listen(self) -> None:
        while self._has_subscribers():
            try:
                self._receive()
                return
            except RedisError as error:
                log.warning("Redis does not answer (%s); requests that wait for a caption poll the ledger.", error)
                time.sleep(POLL_INTERVAL)

    def _receive(self) -> None:
        with self._redis.pubsub() as channel:
            channel.subscribe(keys.ENDED)
            while self._has_subscribers():
                message = channel.get_message(timeout=POLL_INTERVAL)
                if message and message["type"] == "message":
                    self._wake(message["data"])
                elif message:  # subscribed: earlier messages were missed, so wake all threads
                    with self._lock:
                        job_ids = list(self._events)
                    self._wake(*job_ids)

    def _has_subscribers(self) -> bool:
        with self._lock:
            self._listening = bool(self._events)
            return self._listening

    def _wake(self, *job_ids: str) -> None:
        with self._lock:
            for job_id in job_ids:
                for event in self._events.get(job_id, ()):
                    event.set()
