"""Registry of the worker processes, and of the models that they have or had."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import cast

from pydantic import BaseModel, ConfigDict, ValidationError
from redis import Redis

from common.jobs import ModelInfo
from common.ledger import keys
from common.settings import Settings
from common.translation import Message, _

#: A worker without a heartbeat for this many times `ready_seconds` is removed.
EXPIRY_FACTOR = 6


class Worker(BaseModel):
    """The last heartbeat of a worker process, by the ledger's clock.

    Workers of earlier versions do not send the fields from `host` on, which are then empty or 0.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    model: ModelInfo
    heard_at: float = 0.0
    pictures_per_second: float | None = None
    #: Schema version that the worker uses; workers with schema 1 do not send it.
    ledger_schema: int = 1
    host: str = ""
    pid: int = 0
    #: Version of captiond.
    version: str = ""
    #: Device and precision that the model computes with, such as `cuda:0` and `bf16`; `server` if a server computes.
    device: str = ""
    precision: str = ""
    #: Whether the model is in memory, which it leaves with `CAPTIOND_UNLOAD_AFTER`.
    loaded: bool = True
    #: Maximum images per call of the model, or requests at a time to its server.
    capacity: int = 0
    #: Resident size of the process in bytes.
    memory_bytes: int = 0
    #: Jobs that the worker holds.
    jobs: int = 0
    #: Why the server of the model cannot caption now, so that the worker claims nothing.
    unavailable: Message | None = None
    #: Unix time of the first heartbeat.
    started_at: float = 0.0


class KnownModel(BaseModel):
    """A model, and the time of the last heartbeat of a worker with it, by the ledger's clock."""

    model_config = ConfigDict(frozen=True)

    model: ModelInfo
    heard_at: float


def serving(alive: Sequence[Worker], model: str) -> list[Worker]:
    """Those of the live workers that may caption jobs which ask for `model`, '' for none; in the same order."""
    return [worker for worker in alive if model in ("", worker.model.name)]


def outage(alive: Sequence[Worker], model: str = "") -> Message | None:
    """Why none of the live workers captions jobs that ask for `model`, '' for none; None if one of them does.

    Also None for jobs that ask for no model while no worker runs: whichever starts first captions them.
    """
    workers = serving(alive, model)
    if not workers and model:
        return _("No worker with the model {model} is running. Pictures wait for one, and none is lost.", model=model)
    reasons = [worker.unavailable for worker in workers]
    return reasons[0] if reasons and all(reasons) else None


class Workers:
    """Heartbeats of the workers."""

    def __init__(self, redis: Redis, settings: Settings, clock: Callable[[], float]) -> None:
        self._redis = redis
        self._settings = settings
        self._clock = clock

    def announce(self, worker: Worker) -> Worker:
        """Record a heartbeat of `worker`; return the record with its times."""
        now = self._clock()
        stamped = worker.model_copy(update={"heard_at": now, "started_at": worker.started_at or now})
        pipe = self._redis.pipeline(transaction=False)
        pipe.hset(keys.WORKERS, worker.name, stamped.model_dump_json())
        pipe.hset(keys.MODELS, worker.model.name, KnownModel(model=worker.model, heard_at=now).model_dump_json())
        pipe.execute()
        return stamped

    def leave(self, name: str) -> None:
        """Remove a worker that shuts down."""
        self._redis.hdel(keys.WORKERS, name)

    def alive(self) -> list[Worker]:
        """The workers with a heartbeat within `ready_seconds`, latest heartbeat first."""
        return [worker for worker, age in self.with_ages() if age <= self._settings.ready_seconds]

    def with_model(self, model: str) -> list[Worker]:
        """The live workers that may caption jobs which ask for `model`, '' for any; latest heartbeat first."""
        return serving(self.alive(), model)

    def captioning(self, model: str = "") -> list[ModelInfo]:
        """The models of these workers, each once, latest heartbeat first."""
        return list(dict.fromkeys(worker.model for worker in self.with_model(model)))

    def known_models(self) -> list[ModelInfo]:
        """The models whose last worker sent a heartbeat within the retention time, in the order of their names."""
        oldest = self._clock() - self._settings.retention
        models = []
        for name, stored in sorted(cast("dict[str, str]", self._redis.hgetall(keys.MODELS)).items()):
            known = KnownModel.model_validate_json(stored)
            if known.heard_at < oldest:
                self._redis.hdel(keys.MODELS, name)
            else:
                models.append(known.model)
        return models

    def models(self, alive: Sequence[Worker]) -> list[tuple[ModelInfo, int]]:
        """The known models, each with its number of workers among those `alive`."""
        workers = Counter(worker.model.name for worker in alive)
        return [(model, workers[model.name]) for model in self.known_models()]

    def with_ages(self) -> list[tuple[Worker, float]]:
        """The workers with the seconds since their last heartbeat, latest heartbeat first.

        Includes workers that were lost a short time ago. A heartbeat in the future was recorded before the clock of
        Redis was set back, or by an earlier primary Redis with another clock; such a worker is lost, too, unless its
        next heartbeat corrects the record.
        """
        now = self._clock()
        workers = []
        for name, stored in self._redis.hgetall(keys.WORKERS).items():
            try:
                worker = Worker.model_validate_json(stored)
            except ValidationError:  # written by an incompatible version
                worker = None
            age = abs(now - worker.heard_at) if worker else float("inf")
            if age > EXPIRY_FACTOR * self._settings.ready_seconds:
                self._redis.hdel(keys.WORKERS, name)
            elif worker:
                workers.append((worker, age))
        return sorted(workers, key=lambda item: item[1])
