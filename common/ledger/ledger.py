"""The life of a job: create, claim, extend, commit, fail, release, cancel, delete, sweep."""

from __future__ import annotations

import copy
import json
import secrets
from collections.abc import Callable, Iterable, Mapping
from typing import cast

from redis import Redis
from redis.client import Pipeline

from common import problems
from common.jobs import Failure, InputInfo, Job, ModelInfo, Output, Progress, Status, Timings, moment
from common.ledger import keys, quotas, records
from common.ledger.clock import clock_of
from common.ledger.entry import enter, erase
from common.ledger.sweep import RING_GRACE, Swept, doubled, forget_rings, sweep
from common.ledger.transitions import Claim, Private, Step, change, done, held_by
from common.ledger.viewer import EVERYBODY, Viewer
from common.ledger.workers import Workers
from common.problems import Kind, Problem
from common.settings import Settings

#: Seconds until a job that was postponed is tried again, at first and at most. The longest must be well below
#: `worker.resident.DEAF_AFTER`: a worker for which jobs wait that long without a notification ends itself.
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0


class Ledger:
    """Every job's record in Redis; see the package's docstring for the keys and the promise.

    Methods raise `redis.RedisError` when Redis does not answer.
    """

    def __init__(self, redis: Redis, settings: Settings, clock: Callable[[], float] | None = None) -> None:
        self._redis = redis
        self._settings = settings
        self._clock = clock or clock_of(redis)
        self._workers = Workers(redis, settings, self._clock)
        self._viewer = EVERYBODY

    def for_viewer(self, viewer: Viewer) -> Ledger:
        """The ledger as `viewer` sees it: what they make is theirs, and what is not theirs is not there."""
        seen = copy.copy(self)
        seen._viewer = viewer
        return seen

    # --- what the web tier does ---------------------------------------------------------------------------

    def admit(self, pictures: int = 1) -> None:
        """Raise `queue-full` or `quota-used-up` when `pictures` more would be too many."""
        quotas.admit(self._redis, self._settings, self._viewer.owner, pictures)

    def charge(self, uploaded: int) -> None:
        """Count `uploaded` bytes for the owner's day; raises `quota-used-up`, and counts nothing then."""
        quotas.charge(self._redis, self._settings, self._viewer.owner, uploaded, self._clock)

    def create(
        self,
        job_id: str,
        *,
        input: InputInfo | None = None,
        cached: tuple[ModelInfo, Output] | None = None,
        error: Problem | None = None,
        batch: str | None = None,
        custom_id: str | None = None,
        idempotency_key: str | None = None,
        webhook: str | None = None,
        prefix: str = "",
    ) -> Job:
        """Record a job, in one transaction: waiting, or succeeded from the cache, or failed from the start.

        `webhook` is the URL that is told when the job has ended, or when all of its `batch` have; `prefix` is that of
        the `urls` which it is told.

        Returns the earlier job instead, and records nothing, when `idempotency_key` made one from the same
        picture; raises `idempotency-conflict` when it made one from another picture.
        """
        now = self._clock()
        job = Job(
            id=job_id,
            status=Status.QUEUED,
            input=input,
            batch=batch,
            custom_id=custom_id,
            created_at=moment(now),
            expires_at=moment(now + self._settings.retention),
        )
        if cached is not None:
            model, output = cached
            job = done(job, Status.SUCCEEDED, now, model=model, output=output, cached=True)
        elif error is not None:
            job = done(job, Status.FAILED, now, error=Failure.of(error))
        owner = self._viewer.owner
        return enter(
            self._redis,
            job,
            ring_at=now + RING_GRACE,
            retention=self._settings.retention,
            owner=owner,
            idempotency=keys.idempotency(idempotency_key, owner) if idempotency_key else None,
            webhook=webhook,
            prefix=prefix,
            earlier=lambda remembered: self._earlier(remembered, input),
        )

    def remembered(self, idempotency_key: str, input: InputInfo) -> Job | None:
        """The job that `idempotency_key` made from the same picture; raises `idempotency-conflict`."""
        stored = cast("str | None", self._redis.get(keys.idempotency(idempotency_key, self._viewer.owner)))
        return self._earlier(stored, input)

    def cached(self, picture_sha256: str, model_version: str) -> Output | None:
        """The caption that this model, with today's settings, made of the same picture of this owner before."""
        key = keys.caption(picture_sha256, model_version, self._settings.caption_key, self._viewer.owner)
        stored = self._redis.get(key)
        return Output.model_validate_json(cast("str", stored)) if stored else None

    def get(self, job_id: str) -> Job:
        """The job with its progress; raises `job-not-found` or `job-gone`."""
        pipe = self._redis.pipeline(transaction=False)
        pipe.hgetall(keys.job(job_id))
        pipe.get(keys.known(job_id))
        pipe.zrank(keys.in_status(Status.QUEUED), job_id)
        fields, maker, rank = pipe.execute()
        job = records.from_fields(fields) if self._viewer.may_see(fields.get("_owner")) else None
        if job is None:
            known = maker is not None and self._viewer.may_see(maker or None)
            raise missing(known, problems.JOB_NOT_FOUND, problems.JOB_GONE, "job")
        return job.model_copy(update={"progress": self._progress(job, rank)})

    def prefix(self, job_id: str) -> str:
        """The prefix of the `urls` that the job's webhook is told."""
        return cast("str | None", self._redis.hget(keys.job(job_id), "_prefix")) or ""

    def recent(
        self, *, status: Status | None = None, limit: int = 50, cursor: str | None = None
    ) -> tuple[list[Job], str | None]:
        """At most `limit` jobs, newest first, beginning after the job `cursor`, and the cursor of the rest."""
        whose = None if self._viewer.sees_all else self._viewer.owner
        key = keys.in_status(status, whose) if status else keys.all_jobs(whose)
        newest = f"({cursor}" if cursor else "+"
        ids = cast("list[str]", self._redis.zrevrangebylex(key, newest, "-", start=0, num=limit + 1))
        jobs = self.read(ids[:limit])
        return jobs, ids[limit - 1] if len(ids) > limit else None

    def oldest(self, status: Status) -> Job | None:
        """The oldest job in that state."""
        ids = cast("list[str]", self._redis.zrange(keys.in_status(status), 0, 0))
        return next(iter(self.read(ids)), None)

    def overdue(self, seconds: float) -> list[str]:
        """The jobs whose leases ended more than `seconds` ago, the longest first: no worker sweeps then."""
        return cast("list[str]", self._redis.zrangebyscore(keys.LEASED, 0, self._clock() - seconds))

    def now(self) -> float:
        """The Unix time by the ledger's clock."""
        return self._clock()

    def read(self, job_ids: Iterable[str]) -> list[Job]:
        """Those of the jobs that exist and may be seen, in the same order, without progress."""
        pipe = self._redis.pipeline(transaction=False)
        for job_id in job_ids:
            pipe.hgetall(keys.job(job_id))
        seen = (fields for fields in pipe.execute() if self._viewer.may_see(fields.get("_owner")))
        jobs = (records.from_fields(fields) for fields in seen)
        return [job for job in jobs if job is not None]

    def counts(self) -> dict[Status, int]:
        """How many jobs are in each state."""
        pipe = self._redis.pipeline(transaction=False)
        for status in Status:
            pipe.zcard(keys.in_status(status))
        return dict(zip(Status, pipe.execute(), strict=True))

    def cancel(self, job_id: str) -> Job:
        """Cancel an open job; a job that is done stays as it is. Raises `job-not-found` or `job-gone`."""

        def step(job: Job, _: Mapping[str, str]) -> tuple[Job, Private] | None:
            if job.status.terminal:
                return None
            return done(job, Status.CANCELED, self._clock()), {}

        self.get(job_id)  # raises for those who may not see it
        self._change(job_id, step)
        return self.get(job_id)

    def delete(self, job_id: str) -> None:
        """Remove every trace of the job but the mark that its id was known; its picture is the caller's.

        Raises `job-not-found` or `job-gone` for those who see only their own.
        """
        if not self._viewer.sees_all:
            self.get(job_id)
        erase(self._redis, job_id, self._clock())

    # --- what a worker does -------------------------------------------------------------------------------

    def suspected(self, job_ids: Iterable[str]) -> set[str]:
        """Those of the jobs that were held when a worker was lost: their pictures may be what ended it."""
        asked = list(job_ids)
        pipe = self._redis.pipeline(transaction=False)
        for job_id in asked:
            pipe.hget(keys.job(job_id), "attempts")
        return {job_id for job_id, attempts in zip(asked, pipe.execute(), strict=True) if attempts not in (None, "0")}

    def claim(self, job_id: str) -> Claim | None:
        """Take a waiting job, for `lease_seconds`; None when it is not waiting (any more)."""
        token, now = secrets.token_hex(8), self._clock()
        owner: str | None = None

        def step(job: Job, private: Mapping[str, str]) -> tuple[Job, Private] | None:
            nonlocal owner
            if job.status is not Status.QUEUED:
                return None
            owner = private.get("_owner")
            update = {
                "status": Status.PROCESSING,
                "attempts": job.attempts + 1,
                "started_at": moment(now),
            }
            return job.model_copy(update=update), {
                "_token": token,
                "_lease_until": now + self._settings.lease_seconds,
            }

        job = self._change(job_id, step)
        return Claim(job, token, owner) if job else None

    def extend(self, claims: Iterable[Claim]) -> list[Claim]:
        """Begin the leases anew; returns the claims that were lost (canceled, deleted or given to another)."""
        lease_until = self._clock() + self._settings.lease_seconds

        def extended(claim: Claim) -> Job | None:
            return self._change(claim.id, held_by(claim, lambda job, _: (job, {"_lease_until": lease_until})))

        return [claim for claim in claims if extended(claim) is None]

    def commit(self, claim: Claim, output: Output, *, model: ModelInfo, timings: Timings) -> bool:
        """Write the caption; False, and nothing is written, when the claim does not hold any more."""
        picture = claim.job.input
        version, how = model.version, self._settings.caption_key
        cache = keys.caption(picture.sha256, version, how, claim.owner) if picture else None

        def step(job: Job, _: Mapping[str, str]) -> tuple[Job, Private]:
            captioned = done(job, Status.SUCCEEDED, self._clock(), output=output, model=model, timings=timings)
            return captioned, {"_cache": cache} if cache else {}

        def remember(pipe: Pipeline) -> None:
            if cache:
                pipe.set(cache, output.model_dump_json(), ex=int(self._settings.retention) + 1)

        return self._change(claim.id, held_by(claim, step), remember) is not None

    def fail(self, claim: Claim, problem: Problem) -> bool:
        """Write why there is no caption; False when the claim does not hold any more."""

        def step(job: Job, _: Mapping[str, str]) -> tuple[Job, Private]:
            return done(job, Status.FAILED, self._clock(), error=Failure.of(problem)), {}

        return self._change(claim.id, held_by(claim, step)) is not None

    def release(self, claim: Claim) -> bool:
        """Hand a job back untouched, as a worker that shuts down does: the attempt does not count."""

        def step(job: Job, _: Mapping[str, str]) -> tuple[Job, Private]:
            return _untried(job), {"_ring_at": 0}

        return self._change(claim.id, held_by(claim, step)) is not None

    def postpone(self, claim: Claim) -> bool:
        """Hand a job back that cannot be worked on now, as its image cannot be had: the attempt does not count.

        The sweeper notifies the workers of it again after `FIRST_PAUSE`, which doubles each time.
        """
        now = self._clock()

        def step(job: Job, private: Mapping[str, str]) -> tuple[Job, Private]:
            pause = doubled(FIRST_PAUSE, int(private.get("_rings", 0)), LONGEST_PAUSE)
            return _untried(job), {"_ring_at": now + pause}

        return self._change(claim.id, held_by(claim, step)) is not None

    def postpone_expiry(self, job_id: str, seconds: float) -> None:
        """Have the sweeper look at an expired job again only after `seconds`."""
        self._redis.zadd(keys.EXPIRING, {job_id: self._clock() + seconds}, xx=True)

    def sweep(self) -> Swept:
        """Take back the jobs of workers that fell silent, and say what to ring again and what to delete.

        Call it about once a second from every worker: one of them does it at a time.
        """
        return sweep(self._redis, self._clock(), self._settings)

    def ring_soon(self, job_ids: Iterable[str]) -> None:
        """Have jobs that a sweep named rung for again soon, as the broker was away: in vain, so it does not count."""
        now = self._clock()
        for job_id in job_ids:
            forget_rings(self._redis, job_id, now)

    # --- how ----------------------------------------------------------------------------------------------

    def _change(self, job_id: str, step: Step, also: Callable[[Pipeline], None] | None = None) -> Job | None:
        return change(self._redis, job_id, step, also)

    def _earlier(self, remembered: str | None, input: InputInfo | None) -> Job | None:
        """The job that an Idempotency-Key's entry names, if it is still kept."""
        if not remembered:
            return None
        entry = json.loads(remembered)
        if input is None or entry["sha256"] != input.sha256:
            raise problems.IDEMPOTENCY_CONFLICT(
                "This Idempotency-Key was sent before with another picture. Use a new key for a new picture."
            )
        return next(iter(self.read([entry["id"]])), None)

    def _progress(self, job: Job, rank: int | None) -> Progress:
        """`rank` is the job's place among the waiting ones, None for a job that is not waiting."""
        if job.status.terminal:
            return Progress(position=0, eta_seconds=0.0)
        position = rank or 0
        rate = sum(worker.pictures_per_second or 0.0 for worker in self._workers.alive())
        return Progress(position=position, eta_seconds=round((position + 1) / rate, 1) if rate else None)


def _untried(job: Job) -> Job:
    """The job as it was before it was claimed."""
    return job.model_copy(update={"status": Status.QUEUED, "attempts": job.attempts - 1, "started_at": None})


def missing(known: bool, not_found: Kind, gone: Kind, what: str) -> Problem:
    """The problem of an id without a record: `gone` if there was one, else `not_found`."""
    if known:
        return gone(f"This {what} was deleted, by request or because its time was over.")
    return not_found(f"No {what} has this id. Check the address, or send the picture again.")
