"""Read access to jobs: single jobs, pages, counts and queue positions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

from common import problems
from common.jobs import Job, Progress, Status
from common.ledger import keys, records
from common.ledger.base import Base
from common.ledger.leases import BULK_SHARE
from common.problems import Problem


@dataclass(frozen=True)
class Waiting:
    """How many jobs wait, and for how many seconds the oldest of them; 0 if none waits."""

    jobs: int
    oldest_seconds: float


class Queries(Base):
    """Read-only job operations."""

    def get(self, job_id: str) -> Job:
        """The job with its progress. Raises `job-not-found` or `job-gone`."""
        fields = cast("dict[str, str]", self._redis.hgetall(keys.job(job_id)))
        job = self._job(fields) if self._principal.may_see(fields.get("_owner")) else None
        if job is None:
            raise self._missing_job(job_id)
        return job.model_copy(update={"progress": self._progress(job, fields.get("_owner", ""))})

    def prefix(self, job_id: str) -> str:
        """The path prefix of the `urls` in the job's webhook."""
        return cast("str | None", self._redis.hget(keys.job(job_id), "_prefix")) or ""

    def recent(
        self, *, status: Status | None = None, limit: int = 50, cursor: str | None = None
    ) -> tuple[list[Job], str | None]:
        """Up to `limit` jobs after the job `cursor`, newest first, and the cursor of the next page, if any."""
        scope = keys.scope(None if self._principal.sees_all else self._principal.owner)
        key = keys.in_status(status, scope) if status else keys.all_jobs(scope)
        ids, next_cursor = self._newest(key, limit, cursor)
        return self.read(ids), next_cursor

    def oldest(self, status: Status) -> Job | None:
        """The oldest job in that state, if any."""
        ids = cast("list[str]", self._redis.zrange(keys.in_status(status), 0, 0))
        return next(iter(self.read(ids)), None)

    def overdue(self, seconds: float) -> list[str]:
        """Ids of jobs whose leases ended more than `seconds` ago, oldest first; if any, no worker runs the recovery."""
        return cast("list[str]", self._redis.zrangebyscore(keys.LEASES, 0, self._clock() - seconds))

    def now(self) -> float:
        """The Unix time in seconds by the ledger's clock."""
        return self._clock()

    def read(self, job_ids: Iterable[str]) -> list[Job]:
        """The existing jobs that the principal may see, in the same order, without progress."""
        pipe = self._redis.pipeline(transaction=False)
        for job_id in job_ids:
            pipe.hgetall(keys.job(job_id))
        visible = (fields for fields in pipe.execute() if self._principal.may_see(fields.get("_owner")))
        jobs = (self._job(fields) for fields in visible)
        return [job for job in jobs if job is not None]

    def counts(self, scope: str = "") -> dict[Status, int]:
        """Number of jobs in each state. `scope` selects one owner or batch, see `keys.scope`."""
        pipe = self._redis.pipeline(transaction=False)
        for status in Status:
            pipe.zcard(keys.in_status(status, scope))
        return dict(zip(Status, pipe.execute(), strict=True))

    def waiting(self) -> Waiting:
        """The waiting jobs of all owners, with those in no lane: suspects, and jobs whose image was unavailable."""
        queued = keys.in_status(Status.QUEUED)
        return Waiting(self._redis.zcard(queued), self._age(cast("list[str]", self._redis.zrange(queued, 0, 0))))

    def lane(self, lane: str) -> Waiting:
        """The jobs of all owners that wait in a lane, one of `keys.LANES`."""
        pipe = self._redis.pipeline(transaction=False)
        for owner in cast("list[str]", self._redis.zrange(keys.turns(lane), 0, -1)):
            pipe.zcard(keys.queue(lane, owner))
            pipe.zrange(keys.queue(lane, owner), 0, 0)
        counts_and_oldest = pipe.execute()
        oldest = [job_id for first in counts_and_oldest[1::2] for job_id in first]
        return Waiting(sum(counts_and_oldest[::2]), self._age(sorted(oldest)[:1]))

    def _age(self, job_ids: list[str]) -> float:
        """Seconds since the job was created; 0 if `job_ids` is empty, or the job was deleted meanwhile."""
        created_at = self._redis.hget(keys.job(job_ids[0]), "created_at") if job_ids else None
        return max(0.0, self._clock() - float(created_at)) if created_at else 0.0

    def _missing_job(self, job_id: str) -> Problem:
        return self._missing_problem(
            job_id,
            problems.JOB_NOT_FOUND("No job has this id. Check the address, or send the picture again."),
            problems.JOB_GONE("This job was deleted, by request or because its retention time ended."),
        )

    def _job(self, fields: dict[str, str]) -> Job | None:
        """The job of a hash. `unsure` is by the present setting, also for captions from before it was changed."""
        job = records.from_fields(fields)
        return job.judged(self._settings.unsure_below) if job else None

    def _progress(self, job: Job, owner: str) -> Progress:
        if job.status.terminal:
            return Progress(position=0, eta_seconds=0.0)
        position = 0
        if job.status is Status.QUEUED:
            position = cast("int", self._scripts.position(args=[job.id, owner, job.batch or "", BULK_SHARE]))
        rate = sum(worker.pictures_per_second or 0.0 for worker in self._dependencies.workers.alive())
        return Progress(position=position, eta_seconds=round((position + 1) / rate, 1) if rate else None)
