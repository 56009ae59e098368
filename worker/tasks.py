"""What a notification has a worker do: claim what waits, load, decode, caption, write the results."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait

from redis import RedisError

from common import problems
from common.jobs import Output, Timings
from common.ledger import Claim, Result
from common.problems import Problem
from common.queue import notify
from common.uploads import UploadsUnavailable
from worker.batcher import Closed, Done
from worker.runtime import WorkerRuntime

#: Seconds between two tries to write results while Redis is away.
WRITE_PAUSE = 0.5

log = logging.getLogger(__name__)


def work(runtime: WorkerRuntime) -> None:
    """Caption waiting jobs until none is left that this worker may take.

    Whatever happens, a job's record says so or its lease ends and it is recovered.
    """
    more = True
    try:
        while more and not runtime.stopping.is_set():
            with runtime.lock.shared(), runtime.claiming() as claimed:
                _caption(runtime, claimed.claims)
            more = claimed.more
            if claimed.suspects:
                with runtime.lock.exclusive(), runtime.claiming_suspect() as suspect:
                    _caption(runtime, [suspect] if suspect else [])
                more = True
        if more:  # the notification is used up, and what waits is for other workers
            notify(runtime.celery, 1)
    except RedisError as error:
        log.warning("Redis does not answer (%s); what waits is claimed when it is back.", error)


def _caption(runtime: WorkerRuntime, claims: Sequence[Claim]) -> None:
    """Hand all pictures to the batcher, then write the results as they come."""
    results, postponed, unbegun = [], [], []
    futures: dict[Future[Done[Output | Problem]], Claim] = {}
    for claim in claims:
        if runtime.stopping.is_set():
            unbegun.append(claim)
            continue
        try:
            pixels = runtime.captioner.prepare(_load(runtime, claim))
            if runtime.holds(claim):  # else it was canceled while it was loaded
                future = runtime.batcher.submit(pixels, interactive=claim.job.batch is None)
                futures[future] = claim
                runtime.await_result(claim, future)
        except Closed:
            unbegun.append(claim)
        except UploadsUnavailable:
            postponed.append(claim)
        except Exception as error:
            results.append(Result(claim, problem=_problem(claim, error)))
    if unbegun:
        runtime.hand_back(unbegun)
    if postponed:
        runtime.ledger.postpone(postponed)
    if results:
        _write(runtime, results)
    while futures:
        done, _ = wait(futures, return_when=FIRST_COMPLETED)
        finished = [(futures.pop(future), future) for future in done]
        results = [_result(runtime, claim, future) for claim, future in finished if not future.cancelled()]
        if results:
            _write(runtime, results)


def _load(runtime: WorkerRuntime, claim: Claim) -> bytes:
    picture = claim.job.input
    return runtime.uploads.load(claim.id, picture.sha256 if picture else None)


def _result(runtime: WorkerRuntime, claim: Claim, future: Future[Done[Output | Problem]]) -> Result:
    try:
        done = future.result()
    except Exception as error:
        return Result(claim, problem=_problem(claim, error))
    if isinstance(done.result, Problem):
        return Result(claim, problem=done.result)
    return Result(claim, done.result, runtime.captioner.model, _timings(claim, done))


def _problem(claim: Claim, error: Exception) -> Problem:
    if isinstance(error, Problem):
        return error
    log.error("Job %s failed.", claim.id, exc_info=error)
    return problems.INTERNAL("The picture could not be captioned. Try again; the server's log says more.")


def _timings(claim: Claim, done: Done[Output | Problem]) -> Timings:
    job = claim.job
    waited = (job.started_at - job.created_at).total_seconds() if job.started_at else 0.0
    return Timings(queue_seconds=round(waited, 3), model_seconds=round(done.seconds, 3), batch_size=done.batch_size)


def _write(runtime: WorkerRuntime, results: Sequence[Result]) -> None:
    """Write results, trying again for as long as Redis is away or takes nothing: they cost a model call.

    Nothing is gained by giving up, as this thread could not claim another job either.
    """
    while True:
        try:
            for _ in range(runtime.ledger.finish(results).count(False)):
                log.info("A result came too late: its job was canceled, deleted or given to another worker.")
            runtime.let_go([result.claim for result in results])
            return
        except RedisError:
            if runtime.stopping.is_set():
                raise
            time.sleep(WRITE_PAUSE)
