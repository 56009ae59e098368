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
from common.ledger.workers import outage
from common.options import model_of
from common.problems import Problem


@dataclass(frozen=True)
class Origin:
    """The request that created a job or batch: the path prefix of the `urls` in its webhook, and its trace."""

    prefix: str
    traceparent: str | None


class Queries(Base):
    """Read-only job operations."""

    def get(self, job_id: str) -> Job:
        """The job with its progress. Raises `job-not-found` or `job-gone`."""
        fields = cast("dict[str, str]", self._redis.hgetall(keys.job(job_id)))
        job = self._job(fields) if self._principal.may_see(fields.get("_owner")) else None
        if job is None:
            raise self._missing_job(job_id)
        return job.model_copy(update={"progress": self._progress(job, fields.get("_owner", ""))})

    def origin(self, job_id: str) -> Origin:
        """What the job's webhook needs of the request that created it."""
        prefix, traceparent = cast("list[str | None]", self._redis.hmget(keys.job(job_id), "_prefix", "_traceparent"))
        return Origin(prefix or "", traceparent)

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
        position, model = 0, model_of(job.options)
        if job.status is Status.QUEUED:
            position = cast("int", self._scripts.position(args=[job.id, owner, job.batch or "", model, BULK_SHARE]))
        workers = self._dependencies.workers.with_model(model)
        rate = sum(worker.pictures_per_second or 0.0 for worker in workers)
        return Progress(
            position=position,
            eta_seconds=round((position + 1) / rate, 1) if rate else None,
            reason=outage(workers, model),
        )
