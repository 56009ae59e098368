"""What the sweeper looks for: silent workers, lost bells, and jobs whose time is over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

from redis import Redis
from redis.exceptions import OutOfMemoryError

from common import problems
from common.jobs import Failure, Job, Status
from common.ledger import keys
from common.ledger.transitions import Private, change, done
from common.settings import Settings

#: Seconds a waiting job's bell may take before it counts as lost and is rung again; doubles at each ring, as
#: a bell may also just be standing in a long queue.
RING_GRACE = 10.0
#: A bell is repeated at least this often, in seconds.
RING_CAP = 600.0
#: Only the oldest waiting jobs are rung again: the broker's queue is in order, so a bell is late only if the
#: job is at the head, and a long queue must not be doubled every few seconds.
HEAD_OF_QUEUE = 64
#: No lease ends later than after so many of its lengths, unless Redis' clock was set back since it was given.
LEASES_AHEAD = 2
#: Leases and expired jobs looked at in one sweep, so that a sweep stays short.
SWEEP_LIMIT = 200
#: Milliseconds for which one sweeper keeps the others from sweeping.
SWEEP_HOLD_MS = 900


@dataclass(frozen=True)
class Swept:
    """What a sweep found to be done: jobs to ring again, and jobs whose time is over."""

    ring: list[str] = field(default_factory=list)
    expired: list[str] = field(default_factory=list)


def sweep(redis: Redis, now: float, settings: Settings) -> Swept:
    """One sweep; finds nothing when another process swept less than a second ago."""
    try:
        if not redis.set(keys.SWEEPING, 1, nx=True, px=SWEEP_HOLD_MS):
            return Swept()
    except OutOfMemoryError:  # only deleting makes room
        return Swept(expired=_expired(redis, now))
    overdue = cast("list[str]", redis.zrangebyscore(keys.LEASED, 0, now, start=0, num=SWEEP_LIMIT))
    returned = [job_id for job_id in overdue if _take_back(redis, job_id, now, settings.max_attempts)]
    never = f"({now + LEASES_AHEAD * settings.lease_seconds}"
    misdated = cast("list[str]", redis.zrangebyscore(keys.LEASED, never, "+inf", start=0, num=SWEEP_LIMIT))
    for job_id in misdated:
        _shorten(redis, job_id, now + settings.lease_seconds)
    head = cast("list[str]", redis.zrange(keys.in_status(Status.QUEUED), 0, HEAD_OF_QUEUE - 1))
    unheard = [job_id for job_id in head if _count_ring(redis, job_id, now)]
    return Swept(ring=returned + unheard, expired=_expired(redis, now))


def _expired(redis: Redis, now: float) -> list[str]:
    return cast("list[str]", redis.zrangebyscore(keys.EXPIRING, 0, now, start=0, num=SWEEP_LIMIT))


def _take_back(redis: Redis, job_id: str, now: float, max_attempts: int) -> bool:
    """Whether the job of a silent worker waits again; one that was tried too often fails instead."""

    def step(job: Job, private: Mapping[str, str]) -> tuple[Job, Private] | None:
        if job.status is not Status.PROCESSING or float(private["_lease_until"]) > now:
            return None  # extended or finished meanwhile
        if job.attempts < max_attempts:
            waiting = job.model_copy(update={"status": Status.QUEUED, "started_at": None})
            return waiting, {"_ring_at": now + RING_GRACE, "_rings": 0}
        lost = problems.WORKER_LOST(
            f"A worker stopped {job.attempts} times while it captioned this picture, so it was given up. "
            "Try another copy of the picture, for example saved again as JPEG."
        )
        return done(job, Status.FAILED, now, error=Failure.of(lost)), {}

    job = change(redis, job_id, step)
    return job is not None and job.status is Status.QUEUED


def _shorten(redis: Redis, job_id: str, lease_until: float) -> None:
    """Let a lease that was given before the clock was set back end as if it began now."""

    def step(job: Job, private: Mapping[str, str]) -> tuple[Job, Private] | None:
        held = job.status is Status.PROCESSING and float(private["_lease_until"]) > lease_until
        return (job, {"_lease_until": lease_until}) if held else None

    change(redis, job_id, step)


def _count_ring(redis: Redis, job_id: str, now: float) -> bool:
    """Whether a waiting job's bell must have been lost; it counts as rung now."""

    def step(job: Job, private: Mapping[str, str]) -> tuple[Job, Private] | None:
        young = now < float(private["_ring_at"]) <= now + RING_CAP  # later still: the clock was set back
        if job.status is not Status.QUEUED or young:
            return None
        rings = int(private.get("_rings", 0)) + 1
        return job, {"_ring_at": now + doubled(RING_GRACE, rings, RING_CAP), "_rings": rings}

    return change(redis, job_id, step) is not None


def doubled(first: float, times: int, longest: float) -> float:
    """A pause of `first` seconds that was doubled so many times, at most `longest`.

    The exponent is bounded: a job that waits through a day's outage is notified of thousands of times, and no float
    holds 2 ** 1024.
    """
    return min(first * 2.0 ** min(times, 32), longest)


def forget_rings(redis: Redis, job_id: str, now: float) -> None:
    """Ring for a waiting job as if for the first time."""

    def step(job: Job, private: Mapping[str, str]) -> tuple[Job, Private] | None:
        return (job, {"_ring_at": now + RING_GRACE, "_rings": 0}) if job.status is Status.QUEUED else None

    change(redis, job_id, step)
