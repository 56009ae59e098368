"""Which workers are alive, and with which model: how readiness and the demo banner know."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import BaseModel, ConfigDict, ValidationError
from redis import Redis

from common.jobs import ModelInfo
from common.ledger import keys
from common.settings import Settings

#: A worker that was not heard for this many times `ready_seconds` is forgotten.
FORGOTTEN_AFTER = 6


class Worker(BaseModel):
    """One worker process as it last announced itself."""

    model_config = ConfigDict(frozen=True)

    name: str
    model: ModelInfo
    heard_at: float = 0.0
    pictures_per_second: float | None = None
    #: Schema of the ledger that it reads and writes; versions before the second announce none.
    ledger_schema: int = 1


class Workers:
    """The workers' announcements."""

    def __init__(self, redis: Redis, settings: Settings, clock: Callable[[], float]) -> None:
        self._redis = redis
        self._settings = settings
        self._clock = clock

    def announce(self, worker: Worker) -> None:
        """Record that `worker` is alive now, with its model loaded."""
        heard = worker.model_copy(update={"heard_at": self._clock()})
        self._redis.hset(keys.WORKERS, worker.name, heard.model_dump_json())

    def leave(self, name: str) -> None:
        """Forget a worker that shuts down."""
        self._redis.hdel(keys.WORKERS, name)

    def alive(self) -> list[Worker]:
        """The workers heard within `ready_seconds`, the most recently heard first."""
        now = self._clock()
        workers = []
        for name, announced in self._redis.hgetall(keys.WORKERS).items():
            try:
                worker = Worker.model_validate_json(announced)
            except ValidationError:  # announced by a newer or older version
                worker = None
            silent = now - worker.heard_at if worker else float("inf")
            if worker and silent <= self._settings.ready_seconds:
                workers.append(worker)
            elif silent > FORGOTTEN_AFTER * self._settings.ready_seconds:
                self._redis.hdel(keys.WORKERS, name)
        return sorted(workers, key=lambda worker: worker.heard_at, reverse=True)
