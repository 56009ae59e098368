"""`Prefer: wait=N` (RFC 7240): hold the answer until the caption is there, or N seconds have passed."""

from __future__ import annotations

import re
import time

from flask import Response

from common.jobs import Job
from web.services import Services

#: Longest wait, in seconds; a larger wish is cut to it.
LONGEST = 60
#: Seconds between two looks at the ledger, should nobody say that the job has ended.
LOOK = 1.0

_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,6})")


def preferred_wait(header: str | None) -> int:
    """The seconds a Prefer header asks to wait, 0 when it does not."""
    found = _WAIT.search(header or "")
    return min(int(found[1]), LONGEST) if found else 0


def wait_for(services: Services, job: Job, seconds: int) -> Job:
    """The job when it is done, or as it is after `seconds`, at the server's shutdown, or when too many wait already."""
    if not seconds or job.status.terminal or not services.may_wait.acquire(blocking=False):
        return job
    try:
        deadline = time.monotonic() + seconds
        with services.completions.subscribe(job.id) as ended:
            while True:
                job = services.ledger.get(job.id)
                left = deadline - time.monotonic()
                if job.status.terminal or left <= 0 or services.stopping.is_set():
                    return job
                ended.wait(min(left, LOOK))
                ended.clear()
    finally:
        services.may_wait.release()


def say_applied(response: Response, seconds: int) -> None:
    """Confirm the preference."""
    if seconds:
        response.headers["Preference-Applied"] = f"wait={seconds}"
