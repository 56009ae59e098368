"""`Prefer: wait=N` (RFC 7240): delay the response until the job is finished, for at most N seconds."""

from __future__ import annotations

import re
import time

from flask import Response, request

from common.jobs import Job
from web.services import Services

#: Seconds; a longer wait is reduced to this.
MAX_WAIT = 60
#: Seconds between two reads of the job, in case its completion event is lost.
POLL_INTERVAL = 1.0

_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,6})")


def preferred_wait(header: str | None) -> int:
    """The wait of a Prefer header in seconds, at most `MAX_WAIT`; 0 without one."""
    match = _WAIT.search(header or "")
    return min(int(match[1]), MAX_WAIT) if match else 0


def wait_until_done(services: Services, job: Job, seconds: int) -> Job:
    """The job once it is finished, or its state after `seconds`.

    Returns early when the server shuts down or the client disconnects, and at once when all wait slots are in use.
    """
    if not seconds or job.status.terminal or not services.wait_slots.acquire(blocking=False):
        return job
    try:
        deadline = time.monotonic() + seconds
        with services.completions.subscribe(job.id) as completed:
            while True:
                job = services.ledger.get(job.id)
                remaining = deadline - time.monotonic()
                if job.status.terminal or remaining <= 0 or services.stopping.is_set() or _is_client_gone():
                    return job
                completed.wait(min(remaining, POLL_INTERVAL))
                completed.clear()
    finally:
        services.wait_slots.release()


def add_preference_applied(response: Response, seconds: int) -> None:
    """Set the Preference-Applied header, unless `seconds` is 0."""
    if seconds:
        response.headers["Preference-Applied"] = f"wait={seconds}"


def _is_client_gone() -> bool:
    """Whether the client of this request has disconnected; False if the server does not say."""
    is_disconnected = request.environ.get("waitress.client_disconnected")
    return bool(is_disconnected and is_disconnected())
