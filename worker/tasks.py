"""The way of a job through the worker: claim, load, decode, caption, commit."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence

from redis import RedisError

from common import problems
from common.jobs import Output, Timings
from common.ledger import Claim
from common.problems import Problem
from common.queue import ring
from common.uploads import UploadsUnavailable
from worker.batcher import Closed, Done
from worker.resident import Resident

#: Seconds between two tries to write a result while Redis is away.
WRITE_PAUSE = 0.5

log = logging.getLogger(__name__)


def caption_jobs(resident: Resident, job_ids: Sequence[str]) -> None:
    """Caption those of the jobs that wait; whatever happens, a job's record says so or its lease runs out."""
    try:
        suspects = resident.ledger.suspected(job_ids)
    except RedisError as error:
        log.warning(
            "Jobs %s: Redis does not answer (%s); the sweeper will ring for them again.", ", ".join(job_ids), error
        )
        return
    others = [job_id for job_id in job_ids if job_id not in suspects]
    for company in (others, *([job_id] for job_id in job_ids if job_id in suspects)):
        with resident.room.entered(alone=company is not others):
            ways = [_caption(resident, job_id) for job_id in company]
            for _ in range(2):  # all are with the batcher before the first result is waited for
                for way in ways:
                    next(way, None)


def _caption(resident: Resident, job_id: str) -> Iterator[None]:
    """The way of a job; it stops once, when the picture is with the batcher."""
    if resident.stopping.is_set():
        ring(resident.celery, [job_id])  # this bell is used up, and the job is for whoever comes next
        return
    try:
        claim = resident.ledger.claim(job_id)
        if claim is None:
            return
        with resident.holding(claim):
            try:
                pixels = resident.captioner.prepare(_load(resident, claim))
                if resident.ledger.extend([claim]):
                    return  # canceled while it was loaded
                future = resident.batcher.submit(pixels)
                yield
                done = future.result()
                output = done.result
                if isinstance(output, Problem):
                    raise output
            except Closed:
                resident.ledger.release(claim)
                ring(resident.celery, [job_id])
            except RedisError:
                raise
            except UploadsUnavailable:
                resident.ledger.postpone(claim)
            except Exception as error:
                problem = _problem(claim, error)
                _write(resident, lambda: resident.ledger.fail(claim, problem))
            else:
                model, timings = resident.captioner.model, _timings(claim, done)
                _write(resident, lambda: resident.ledger.commit(claim, output, model=model, timings=timings))
    except RedisError as error:
        log.warning("Job %s: Redis does not answer (%s); the sweeper will ring for it again.", job_id, error)


def _load(resident: Resident, claim: Claim) -> bytes:
    picture = claim.job.input
    return resident.uploads.load(claim.id, picture.sha256 if picture else None)


def _problem(claim: Claim, error: Exception) -> Problem:
    if isinstance(error, Problem):
        return error
    log.error("Job %s failed.", claim.id, exc_info=error)
    return problems.INTERNAL("The picture could not be captioned. Try again; the server's log says more.")


def _timings(claim: Claim, done: Done[Output | Problem]) -> Timings:
    job = claim.job
    waited = (job.started_at - job.created_at).total_seconds() if job.started_at else 0.0
    return Timings(queue_seconds=round(waited, 3), model_seconds=round(done.seconds, 3), batch_size=done.batch_size)


def _write(resident: Resident, write: Callable[[], bool]) -> None:
    """Write a result, trying again for as long as Redis is away or takes nothing: it cost a model call.

    Nothing is gained by giving up, as this thread could not claim another job either.
    """
    while True:
        try:
            if not write():
                log.info("A result came too late: its job was canceled, deleted or given to another worker.")
            return
        except RedisError:
            if resident.stopping.is_set():
                raise
            time.sleep(WRITE_PAUSE)
