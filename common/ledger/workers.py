"""Registry of live workers and their models, for the readiness check and the demo banner."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import BaseModel, ConfigDict, ValidationError
from redis import Redis

from common.jobs import ModelInfo
from common.ledger import keys
from common.settings import Settings

#: A worker without a heartbeat for this many times `ready_seconds` is removed.
EXPIRY_FACTOR = 6


class Worker(BaseModel):
    """The last heartbeat of a worker process."""

    model_config = ConfigDict(frozen=True)

    name: str
    model: ModelInfo
    heard_at: float = 0.0
    pictures_per_second: float | None = None
    #: Resident size of the process in bytes; None where the system does not tell.
    memory_bytes: int | None = None
    #: Schema version that the worker uses; workers with schema 1 do not send it.
    ledger_schema: int = 1


class Workers:
    """Heartbeats of the workers."""

    def __init__(self, redis: Redis, settings: Settings, clock: Callable[[], float]) -> None:
        self._redis = redis
        self._settings = settings
        self._clock = clock

    def announce(self, worker: Worker) -> None:
        """Record a heartbeat of `worker`."""
        stamped = worker.model_copy(update={"heard_at": self._clock()})
        self._redis.hset(keys.WORKERS, worker.name, stamped.model_dump_json())

    def leave(self, name: str) -> None:
        """Remove a worker that shuts down."""
        self._redis.hdel(keys.WORKERS, name)

    def alive(self) -> list[Worker]:
        """The workers with a heartbeat within `ready_seconds`, latest heartbeat first."""
        now = self._clock()
        workers = []
        for name, stored in self._redis.hgetall(keys.WORKERS).items():
            try:
                worker = Worker.model_validate_json(stored)
            except ValidationError:  # written by an incompatible version
                worker = None
            age = now - worker.heard_at if worker else float("inf")
            if worker and age <= self._settings.ready_seconds:
                workers.append(worker)
            elif age > EXPIRY_FACTOR * self._settings.ready_seconds:
                self._redis.hdel(keys.WORKERS, name)
        return sorted(workers, key=lambda worker: worker.heard_at, reverse=True)
