"""Builds every Redis key that Python uses; the schema stands in the package's docstring."""

from __future__ import annotations

import hashlib

from common.jobs import Status

LEASES = "leases"
EXPIRING = "expiring"
WORKERS = "workers"
RECOVERING = "recovering"
TIDYING = "tidying"
TIDIED = "tidied"
ENDED = "jobs:ended"
SCHEMA = "schema"
#: The index of all jobs in the schema before: what stands there is still to be migrated.
EARLIER_ALL = "jobs:all"
WEBHOOK_HOSTS = "webhooks:hosts"
WEBHOOKS_GIVEN_UP = "webhooks:given-up"
WEBHOOK_SECRET = "webhooks:secret"


def job(job_id: str) -> str:
    return f"job:{job_id}"


def scope(owner: str | None = None, batch: str | None = None) -> str:
    """What names end with of the indexes of one owner or one batch; '' of those of everybody.

    No two are equal: names of owners have neither `@` nor `#`.
    """
    if batch is not None:
        return f"#{batch}"
    return "" if owner is None else f"@{owner}"


def all_jobs(scope: str = "") -> str:
    return f"index:all{scope}"


def in_status(status: Status, scope: str = "") -> str:
    return f"index:{status.value}{scope}"


def batch(batch_id: str) -> str:
    return f"batch:{batch_id}"


def webhook(about_id: str) -> str:
    return f"webhook:{about_id}"


def webhooks_to(host: str) -> str:
    return f"webhooks:to:{host}"


def known(any_id: str) -> str:
    return f"known:{any_id}"


def idempotency(key: str, owner: str | None = None) -> str:
    """The client's key is hashed: it may be long, and it is the client's business."""
    return f"idempotency:{hashlib.sha256(key.encode()).hexdigest()}{scope(owner)}"


def caption(picture_sha256: str, model_version: str, settings: str, owner: str | None = None) -> str:
    return f"caption:{picture_sha256}:{model_version}:{settings}{scope(owner)}"


def uploaded(owner: str, day: str) -> str:
    return f"uploaded:{day}{scope(owner)}"
