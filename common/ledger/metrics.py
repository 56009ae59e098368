"""What there is to measure in the ledger: its counters, and the state of jobs, queue, workers and webhooks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from redis.exceptions import ResponseError

from common.jobs import Status
from common.ledger import keys
from common.ledger.base import Base

#: The kinds of lanes: of single jobs, and of jobs of batches.
LANES = ("interactive", "bulk")


@dataclass(frozen=True)
class Lane:
    """Waiting jobs of one or more lanes, the owners they belong to, and the seconds that the oldest job has waited.

    An owner counts in each lane.
    """

    jobs: int
    owners: int
    oldest_seconds: float


@dataclass(frozen=True)
class Memory:
    """Bytes that Redis uses, and the number at which it refuses writes or the machine is out of memory."""

    used: int
    limit: int


@dataclass(frozen=True)
class Queue:
    """The waiting jobs of all owners.

    `lanes` are by kind and by the model that the jobs ask for, '' for none. The kinds are `interactive` and `bulk`, and
    the `suspects`, which are in no lane and have `owners` 0. `postponed` is the number of jobs that wait for their
    images.
    """

    lanes: dict[tuple[str, str], Lane]
    postponed: int

    def for_worker(self, model: str) -> Queue:
        """The jobs that a worker with this model may claim."""
        return Queue({key: lane for key, lane in self.lanes.items() if key[1] in ("", model)}, 0)

    def of_kind(self, kind: str) -> Lane:
        """The lanes of a kind together."""
        lanes = [lane for (name, _), lane in self.lanes.items() if name == kind]
        oldest = max((lane.oldest_seconds for lane in lanes), default=0.0)
        return Lane(sum(lane.jobs for lane in lanes), sum(lane.owners for lane in lanes), oldest)

    @property
    def jobs(self) -> int:
        return sum(lane.jobs for lane in self.lanes.values()) + self.postponed

    @property
    def oldest_seconds(self) -> float:
        """The seconds for which the oldest job has waited that can be claimed; 0 without one."""
        return max((lane.oldest_seconds for lane in self.lanes.values()), default=0.0)


@dataclass(frozen=True)
class LedgerState:
    """A reading of the ledger.

    `counters` are the fields of the hash `metrics`. `archives` is the number of archives that are not unpacked,
    `chunks` that of chunks of manifests that no worker has claimed, by the model that they ask for.
    `lease_overdue_seconds` is the time since the earliest lease ended that the recovery has not handled, 0 without one.
    `memory` is None if Redis does not tell.
    """

    counters: dict[str, int]
    jobs: dict[Status, int]
    queue: Queue
    archives: int
    chunks: dict[str, int]
    lease_overdue_seconds: float
    memory: Memory | None


class Metrics(Base):
    """Reads the ledger for `/metrics`: a few round trips, whose cost does not depend on the number of jobs."""

    def read(self) -> LedgerState:
        """Read the counters and the state of all owners' jobs."""
        pipe = self._redis.pipeline(transaction=False)
        pipe.hgetall(keys.METRICS)
        pipe.zrange(keys.LEASES, 0, 0, withscores=True)
        pipe.zcard(keys.ARCHIVES)
        for status in Status:
            pipe.zcard(keys.in_status(status))
        counters, leases, archives, *jobs = pipe.execute()
        queue, chunks = self._read_queue()
        return LedgerState(
            counters={name: int(value) for name, value in counters.items()},
            jobs=dict(zip(Status, jobs, strict=True)),
            queue=queue,
            archives=archives,
            chunks=chunks,
            lease_overdue_seconds=max(0.0, self._clock() - leases[0][1]) if leases else 0.0,
            memory=self._memory(),
        )

    def queue(self) -> Queue:
        """Describe the queue, in two round trips."""
        return self._read_queue()[0]

    def _read_queue(self) -> tuple[Queue, dict[str, int]]:
        """The queue, and the number of waiting chunks by the model that they ask for."""
        rows = cast("list[tuple[str, str, int, int, str]]", self._scripts.lanes(args=[self._script_time()]))
        lanes = {(kind, model): Lane(jobs, owners, float(oldest)) for kind, model, jobs, owners, oldest in rows}
        chunks = {model: lanes.pop((kind, model)).jobs for kind, model, *_ in rows if kind == "chunks"}
        return Queue(lanes, self._redis.zcard(keys.DELAYED)), chunks

    def _memory(self) -> Memory | None:
        try:
            info: dict[str, Any] = self._redis.info("memory")
        except ResponseError:  # the stand-in, or a hosted Redis that forbids INFO
            return None
        return Memory(info["used_memory"], info["maxmemory"] or info["total_system_memory"])
