"""The Celery task: claim waiting jobs, load, decode and caption their images, write the results."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait

from redis import RedisError

from captioning.captioner import ModelUnavailable
from common import logs, problems, tracing
from common.jobs import Output, Timings
from common.ledger import Claim, Result
from common.options import SearchOptions
from common.problems import Problem
from common.uploads import UploadsUnavailable
from worker.batcher import Closed, ItemResult
from worker.runtime import PreparedImage, WorkerRuntime

#: Seconds between attempts to write results while Redis is unavailable.
WRITE_RETRY_DELAY = 0.5

log = logging.getLogger(__name__)


def caption_waiting_jobs(runtime: WorkerRuntime) -> None:
    """Caption waiting jobs until none is left that this worker may claim.

    Every claimed job gets a result, is released, or is recovered when its lease ends.
    """
    more = True
    try:
        while more and not runtime.stopping.is_set():
            with runtime.lock.shared(), runtime.claim_jobs() as claimed:
                _caption(runtime, claimed.claims)
            more = claimed.more
            if claimed.suspects:
                with runtime.lock.exclusive(), runtime.claim_suspect() as suspect:
                    _caption(runtime, [suspect] if suspect else [])
                more = True
        if more:
            runtime.pass_on()
    except ModelUnavailable:
        pass  # logged by the captioner; the recovery sends a notification each second while jobs wait
    except RedisError as error:
        log.warning("Redis does not answer (%s); waiting jobs are claimed when it is back.", error)


def _caption(runtime: WorkerRuntime, claims: Sequence[Claim]) -> None:
    """Submit all images to the batcher, then write the results as they complete.

    Raises `ModelUnavailable` after that, if images were postponed because the model could not be loaded.
    """
    results, postponed, unstarted = [], [], []
    unavailable: ModelUnavailable | None = None
    futures: dict[Future[ItemResult[Output | Problem]], Claim] = {}
    for claim in claims:
        if runtime.stopping.is_set():
            unstarted.append(claim)
            continue
        _record_queue_wait(claim)
        with logs.about(claim.subject):
            try:
                with tracing.span("load", claim.subject):
                    pixels = runtime.captioner.prepare(_load(runtime, claim))
                if claim in runtime.claims:  # false if the job was canceled while its image was loaded
                    search = SearchOptions.of(runtime.settings, claim.job.options)
                    image = PreparedImage(pixels, search, claim.subject)
                    future = runtime.batcher.submit(image, interactive=claim.job.batch is None)
                    futures[future] = claim
                    runtime.claims.attach(claim, future)
            except Closed:
                unstarted.append(claim)
            except UploadsUnavailable:
                postponed.append(claim)
            except ModelUnavailable as error:
                postponed.append(claim)
                unavailable = error
            except Exception as error:
                results.append(Result(claim, problem=_problem(claim, error)))
    if unstarted:
        runtime.release(unstarted)
    if postponed:
        runtime.ledger.postpone(postponed)
    if results:
        _write(runtime, results)
    while futures:
        done, _ = wait(futures, return_when=FIRST_COMPLETED)
        finished = [(futures.pop(future), future) for future in done]
        results, untried = [], []
        for claim, future in finished:
            if future.cancelled():
                continue
            if isinstance(future.exception(), ModelUnavailable):
                untried.append(claim)
            else:
                results.append(_result(runtime, claim, future))
        if results:
            _write(runtime, results)
        runtime.release(untried)
    if unavailable:
        raise unavailable


def _record_queue_wait(claim: Claim) -> None:
    if started_at := claim.job.started_at:
        tracing.record("queue", claim.subject, _queue_seconds(claim), started_at.timestamp())


def _queue_seconds(claim: Claim) -> float:
    """Seconds from the submission of the job to its claim."""
    job = claim.job
    return (job.started_at - job.created_at).total_seconds() if job.started_at else 0.0


def _load(runtime: WorkerRuntime, claim: Claim) -> bytes:
    image = claim.job.input
    return runtime.uploads.load(claim.id, image.sha256 if image else None)


def _result(runtime: WorkerRuntime, claim: Claim, future: Future[ItemResult[Output | Problem]]) -> Result:
    try:
        done = future.result()
    except Exception as error:
        with logs.about(claim.subject):
            return Result(claim, problem=_problem(claim, error))
    tracing.record("model", claim.subject, done.seconds)
    if isinstance(done.result, Problem):
        return Result(claim, problem=done.result)
    return Result(claim, done.result, runtime.captioner.model, _timings(claim, done))


def _problem(claim: Claim, error: Exception) -> Problem:
    if isinstance(error, Problem):
        return error
    log.error("Job %s failed.", claim.id, exc_info=error)
    return problems.INTERNAL("The picture could not be captioned. Try again; the server's log has the details.")


def _timings(claim: Claim, done: ItemResult[Output | Problem]) -> Timings:
    return Timings(
        queue_seconds=round(_queue_seconds(claim), 3),
        model_seconds=round(done.seconds, 3),
        batch_size=done.batch_size,
    )


def _write(runtime: WorkerRuntime, results: Sequence[Result]) -> None:
    """Write results; retry while Redis is unavailable or rejects writes, as each result cost a model call.

    Giving up would gain nothing: without Redis this thread cannot claim another job. Raises `RedisError` on shutdown.
    """
    started = time.monotonic()
    while True:
        try:
            for result, written in zip(results, runtime.ledger.finish(results), strict=True):
                if not written:
                    with logs.about(result.claim.subject):
                        log.info("A result is discarded: its job was canceled, deleted or claimed by another worker.")
            runtime.drop([result.claim for result in results])
            for result in results:
                tracing.record("write", result.claim.subject, time.monotonic() - started)
            return
        except RedisError:
            if runtime.stopping.is_set():
                raise
            time.sleep(WRITE_RETRY_DELAY)
