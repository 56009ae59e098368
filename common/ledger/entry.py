"""A job's record from its first write, with all its indexes, to its last, which leaves no trace."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import cast

from redis import Redis
from redis.client import Pipeline

from common import strict_json
from common.jobs import Job, Status
from common.ledger import keys, records
from common.ledger.announcements import announce_job, leave_batch, withdraw
from common.ledger.transitions import owners, transaction

#: The job that an Idempotency-Key's entry names, from what stands in Redis.
Earlier = Callable[[str | None], Job | None]


def enter(
    redis: Redis,
    job: Job,
    *,
    ring_at: float,
    retention: float,
    owner: str | None,
    idempotency: str | None,
    webhook: str | None,
    prefix: str,
    earlier: Earlier,
) -> Job:
    """Record `job`, in one transaction; or record nothing and return the `earlier` job of the same `idempotency`."""
    fields: records.Fields = {**records.to_fields(job), "_ring_at": ring_at}
    fields |= {"_idempotency": idempotency} if idempotency else {}
    fields |= {"_webhook": webhook} if webhook else {}
    fields |= {"_prefix": prefix} if webhook and prefix else {}
    fields |= {"_owner": owner} if owner else {}
    kept = int(retention) + 1

    def write(pipe: Pipeline) -> Job:
        if idempotency and (known := earlier(cast("str | None", pipe.get(idempotency)))):
            pipe.multi()
            return known
        pipe.multi()
        pipe.hset(keys.job(job.id), mapping=fields)
        for whose in (None, owner) if owner else (None,):
            pipe.zadd(keys.in_status(job.status, whose), {job.id: 0})
            pipe.zadd(keys.all_jobs(whose), {job.id: 0})
        pipe.zadd(keys.EXPIRING, {job.id: job.expires_at.timestamp()})
        pipe.set(keys.known(job.id), owner or "", ex=int(2 * retention) + 1)
        if job.batch:
            pipe.lrem(keys.batch_jobs(job.batch), -1, job.id)  # redis-py sends all this again when no answer comes
            pipe.rpush(keys.batch_jobs(job.batch), job.id)
            pipe.expire(keys.batch_jobs(job.batch), kept)
            if webhook and not job.status.terminal:
                pipe.sadd(keys.batch_open(job.batch), job.id)
        elif webhook and job.status.terminal:
            announce_job(pipe, job, webhook)
        if idempotency and job.input:
            pipe.set(idempotency, strict_json.dumps({"id": job.id, "sha256": job.input.sha256}), ex=kept)
        return job

    return transaction(redis, write, *([idempotency] if idempotency else []))


def erase(redis: Redis, job_id: str, now: float) -> None:
    """Remove every trace of the job but the mark that its id was known."""
    key = keys.job(job_id)

    def remove(pipe: Pipeline) -> None:
        fields = cast("dict[str, str]", pipe.hgetall(key))
        job = records.from_fields(fields)
        traces = [fields["_cache"]] if "_cache" in fields else []
        idempotency = fields.get("_idempotency")
        remembered = cast("str | None", pipe.get(idempotency)) if idempotency else None
        if idempotency and remembered and json.loads(remembered)["id"] == job_id:
            traces.append(idempotency)
        webhook, leave = fields.get("_webhook"), None
        if webhook and job and job.batch and not job.status.terminal:
            leave = leave_batch(pipe, job.batch, job_id, webhook, now)
        pipe.multi()
        if leave:
            leave(pipe)
        if webhook:
            withdraw(pipe, job_id, webhook)
        pipe.delete(key, *traces)
        pipe.zrem(keys.LEASED, job_id)
        pipe.zrem(keys.EXPIRING, job_id)
        for owner in owners(fields):
            for index in (keys.all_jobs(owner), *(keys.in_status(status, owner) for status in Status)):
                pipe.zrem(index, job_id)
        if job and job.batch:
            pipe.lrem(keys.batch_jobs(job.batch), 1, job_id)

    transaction(redis, remove, key)
