"""The way of one job through the worker: claim, load, decode, caption, commit."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial

from redis import RedisError

from common import problems
from common.jobs import Output, Timings
from common.ledger import Claim
from common.problems import Problem
from common.queue import ring
from worker.batcher import Closed, Done
from worker.resident import Resident

#: Seconds between two tries to write a result while Redis is away.
WRITE_PAUSE = 0.5

log = logging.getLogger(__name__)


def caption_job(resident: Resident, job_id: str) -> None:
    """Caption one job if it waits; whatever happens, its record says so or its lease runs out."""
    try:
        alone = resident.ledger.suspected(job_id)
        with resident.room.entered(alone=alone):
            _answer(resident, job_id)
    except RedisError as error:
        log.warning("Job %s: Redis does not answer (%s); the sweeper will ring again.", job_id, error)


def _answer(resident: Resident, job_id: str) -> None:
    if resident.stopping.is_set():
        ring(resident.celery, [job_id])  # this bell is used up, and the job is for whoever comes next
        return
    claim = resident.ledger.claim(job_id)
    if claim is None:
        return
    with resident.holding(claim):
        try:
            try:
                _caption(resident, claim)
            except Closed:
                resident.ledger.release(claim)
                ring(resident.celery, [job_id])
        except RedisError as error:
            log.warning("Job %s: Redis stayed away (%s); its lease will run out.", job_id, error)


def _caption(resident: Resident, claim: Claim) -> None:
    ledger = resident.ledger
    try:
        pixels = resident.captioner.prepare(resident.uploads.load(claim.id))
        if ledger.extend([claim]):
            return  # canceled while it was loaded
        done = resident.batcher.submit(pixels).result()
    except (Closed, RedisError):
        raise
    except Problem as problem:
        _write(resident, partial(ledger.fail, claim, problem))
    except Exception:
        log.exception("Job %s failed.", claim.id)
        unexpected = problems.INTERNAL("The picture could not be captioned. Try again; the server's log says more.")
        _write(resident, partial(ledger.fail, claim, unexpected))
    else:
        _write(
            resident,
            lambda: ledger.commit(claim, done.result, model=resident.captioner.model, timings=_timings(claim, done)),
        )


def _timings(claim: Claim, done: Done[Output]) -> Timings:
    job = claim.job
    waited = (job.started_at - job.created_at).total_seconds() if job.started_at else 0.0
    return Timings(queue_seconds=round(waited, 3), model_seconds=round(done.seconds, 3), batch_size=done.batch_size)


def _write(resident: Resident, write: Callable[[], bool]) -> None:
    """Write a result, trying again for as long as Redis is away or takes nothing: it cost a model call.

    Nothing is gained by giving up, as this thread could not claim another job either.
    """
    while True:
        try:
            write()
            return
        except RedisError:
            if resident.stopping.is_set():
                raise
            time.sleep(WRITE_PAUSE)
