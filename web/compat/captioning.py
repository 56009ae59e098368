"""Caption the pictures of another protocol's request: the same jobs as those of `/v1/jobs`, waited for."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence

from flask import request

from common import ingest, problems, strict_json
from common.jobs import Job, Status
from common.ledger import NewJob
from common.options import CaptionOptions, model_of
from common.problems import Problem
from common.queue import notify
from web.api.preferences import preferred_wait, wait_until_done
from web.compat.pictures import Picture
from web.services import Services
from web.submission import create_job, notify_workers

#: Seconds that a request waits for its captions unless its header `Prefer` says otherwise. Clients often give up after
#: 30 s; they are answered before.
WAIT_SECONDS = 25
#: Limits of `Retry-After` for a caption that is not ready, in seconds.
MIN_RETRY_AFTER, MAX_RETRY_AFTER = 1, 30
#: Status of problems that the next picture would have, too: a rate, a quota, a full queue or store.
REFUSALS = frozenset({429, 503, 507})


def caption_pictures(services: Services, pictures: list[Picture], options: CaptionOptions | None) -> list[Job]:
    """Jobs of the pictures that have captions, in the same order.

    Raises the problems of `submit_picture` and of a failed job, and `caption-pending` if a caption takes too long.
    """
    jobs = [submit_picture(services, picture, options) for picture in pictures]
    deadline = time.monotonic() + _wait()
    return [_captioned(services, job, deadline) for job in jobs]


def caption_available(
    services: Services, pictures: Iterable[Callable[[], Picture]], options: CaptionOptions | None = None
) -> list[Job | Problem]:
    """For each picture its job with a caption, or the problem for which it has none yet, in the same order.

    This is for any number of pictures, each of which is a function that reads it. Those that are not read or not
    captioned in time have the problem `caption-pending`; the same request again goes on where this one ended.
    """
    deadline = time.monotonic() + _wait()
    outcomes: list[Job | Problem] = []
    refusal: Problem | None = None
    for read in pictures:
        if outcomes and refusal is None and time.monotonic() >= deadline:  # each request submits one at least
            refusal = _pending(MIN_RETRY_AFTER)
        try:
            outcomes.append(refusal or submit_picture(services, read(), options))
        except Problem as problem:
            outcomes.append(problem)
            if problem.status in REFUSALS:
                refusal = problem
    for index, outcome in enumerate(outcomes):
        if isinstance(outcome, Job):
            try:
                outcomes[index] = _captioned(services, outcome, deadline)
            except Problem as problem:
                outcomes[index] = problem
    return outcomes


def caption_texts(jobs: Sequence[Job], count: int = 1) -> list[str]:
    """Up to `count` different answers about the pictures of `jobs`, the best one first.

    An answer has a line for each picture, but none twice: frames of one event often have the same caption.
    """
    captions = [_captions(job, count) for job in jobs]
    answers = [
        "\n".join(dict.fromkeys(each[min(number, len(each) - 1)] for each in captions))
        for number in range(max(map(len, captions)))
    ]
    return list(dict.fromkeys(answers))


def _captions(job: Job, count: int) -> list[str]:
    """Up to `count` captions of a captioned job."""
    alternatives = job.output.alternatives if job.output else ()
    return [job.caption or "", *(each.caption for each in alternatives)][:count]


def submit_picture(services: Services, picture: Picture, options: CaptionOptions | None) -> Job:
    """A job for the picture: its open one, so that a repeated request does not make a second one; else a new one.

    A job that failed or was canceled is queued again. Raises as `create_job` does.
    """
    sha256, model = ingest.digest(picture.data), model_of(options)
    key = strict_json.dumps(["compat", sha256, options.body() if options else None])
    job = services.ledger.find_idempotent(key, sha256, options=options)
    if job and job.status in (Status.FAILED, Status.CANCELED):
        job, is_retried = services.ledger.retry(job.id)
        notify(services.celery, int(is_retried), model)
    if job is None or job.status.terminal:
        services.ledger.admit()
        new_job = NewJob(idempotency_key=key, unique_while_open=True, options=options)
        models = services.workers.captioning(model)
        job, _ = create_job(services, picture.filename, picture.data, sha256, models, new_job)
        notify_workers(services, int(job.status is Status.QUEUED), model, models)
    return job


def _captioned(services: Services, job: Job, deadline: float) -> Job:
    job = services.ledger.get(wait_until_done(services, job, max(0, math.ceil(deadline - time.monotonic()))).id)
    if not job.status.terminal:
        eta = job.progress.eta_seconds if job.progress else None
        raise _pending(min(max(math.ceil(eta or 0), MIN_RETRY_AFTER), MAX_RETRY_AFTER))
    if job.status is Status.FAILED and job.error:
        raise job.error.problem()
    if job.caption is None:
        raise problems.JOB_CANCELED("The job was canceled. Send the picture again for a caption.")
    return job


def _pending(retry_after: int) -> Problem:
    return problems.CAPTION_PENDING(
        "The picture is still waiting for its caption. Send the same request again: it then waits for the same job.",
        extensions={"retry_after": retry_after},
    )


def _wait() -> int:
    """Seconds that the current request waits for its captions."""
    return preferred_wait(request.headers.get("Prefer")) or WAIT_SECONDS
