"""Changes of a job's record as compare-and-set: read under WATCH, written by EXEC, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from redis import Redis
from redis.client import Pipeline

from common.jobs import Job, Status, moment
from common.ledger import keys, records
from common.ledger.announcements import tell_of_end

T = TypeVar("T")

#: Fields that only the ledger reads, such as the lease's token.
Private = records.Fields

#: A change of a job: from the job and the ledger's private fields to the new job and the private fields to
#: write, or None to leave all as it is.
Step = Callable[[Job, Mapping[str, str]], tuple[Job, Private] | None]


@dataclass(frozen=True)
class Claim:
    """A worker's right to write one job's result, for as long as its lease is extended."""

    job: Job
    token: str
    owner: str | None = None

    @property
    def id(self) -> str:
        return self.job.id


def held_by(claim: Claim, step: Step) -> Step:
    """`step`, but only while `claim` holds: the fence against a worker that was thought dead."""

    def fenced(job: Job, private: Mapping[str, str]) -> tuple[Job, Private] | None:
        holds = job.status is Status.PROCESSING and private.get("_token") == claim.token
        return step(job, private) if holds else None

    return fenced


def done(job: Job, status: Status, now: float, **update: Any) -> Job:
    """The job in a terminal state, reached at the Unix time `now`."""
    return job.model_copy(update={"status": status, "completed_at": moment(now), **update})


def owners(private: Mapping[str, str]) -> tuple[str | None, ...]:
    """In whose indexes a job stands: everybody's (None) and, if it has one, its owner's."""
    return (None, private["_owner"]) if "_owner" in private else (None,)


def transaction(redis: Redis, body: Callable[[Pipeline], T], *watched: str) -> T:
    """Run `body` between WATCH and EXEC, again for as long as another client changes what is watched."""
    # redis-py annotates the function as returning None, though `value_from_callable` hands its value on.
    return cast("T", redis.transaction(cast("Callable[[Pipeline], None]", body), *watched, value_from_callable=True))


def change(redis: Redis, job_id: str, step: Step, also: Callable[[Pipeline], None] | None = None) -> Job | None:
    """Apply `step` to a job and move it between the indexes; the new job, or None when nothing was changed.

    `also` queues further commands for the same transaction.
    """
    key = keys.job(job_id)

    def body(pipe: Pipeline) -> Job | None:
        stored = cast("dict[str, str]", pipe.hgetall(key))
        job = records.from_fields(stored)
        changed = step(job, stored) if job else None
        if job is None or changed is None:
            pipe.multi()
            return None
        new, private = changed
        ended = new.status.terminal and not job.status.terminal
        tell = tell_of_end(pipe, new, stored["_webhook"]) if ended and "_webhook" in stored else None
        pipe.multi()
        written = records.to_fields(new)
        cleared = records.to_fields(job).keys() - written.keys()
        if cleared:
            pipe.hdel(key, *cleared)
        fields: records.Fields = {**written, **private}
        pipe.hset(key, mapping=fields)
        if new.status is not job.status:
            for owner in owners(stored):
                pipe.zrem(keys.in_status(job.status, owner), job_id)
                pipe.zadd(keys.in_status(new.status, owner), {job_id: 0})
        if ended:
            pipe.publish(keys.ENDED, job_id)
        if tell:
            tell(pipe)
        if new.status is not Status.PROCESSING:
            pipe.zrem(keys.LEASED, job_id)
        elif "_lease_until" in private:
            pipe.zadd(keys.LEASED, {job_id: private["_lease_until"]})
        if also:
            also(pipe)
        return new

    return transaction(redis, body, key)
