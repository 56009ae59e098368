"""Builds every Redis key; the schema stands in the package's docstring."""

from __future__ import annotations

import hashlib

from common.jobs import Status

LEASED = "jobs:leased"
EXPIRING = "jobs:expiring"
WORKERS = "workers"
SWEEPING = "sweeping"
TIDYING = "tidying"
TIDIED = "tidied"
ENDED = "jobs:ended"
WEBHOOK_HOSTS = "webhooks:hosts"
WEBHOOKS_GIVEN_UP = "webhooks:given-up"
WEBHOOK_SECRET = "webhooks:secret"


def job(job_id: str) -> str:
    return f"job:{job_id}"


def all_jobs(owner: str | None = None) -> str:
    return _of("jobs:all", owner)


def in_status(status: Status, owner: str | None = None) -> str:
    return _of(f"jobs:{status.value}", owner)


def batch(batch_id: str) -> str:
    return f"batch:{batch_id}"


def batch_jobs(batch_id: str) -> str:
    return f"batch-jobs:{batch_id}"


def batch_open(batch_id: str) -> str:
    return f"batch-open:{batch_id}"


def webhook(about_id: str) -> str:
    return f"webhook:{about_id}"


def webhooks_to(host: str) -> str:
    return f"webhooks:to:{host}"


def known(any_id: str) -> str:
    return f"known:{any_id}"


def idempotency(key: str, owner: str | None = None) -> str:
    """The client's key is hashed: it may be long, and it is the client's business."""
    return _of(f"idempotency:{hashlib.sha256(key.encode()).hexdigest()}", owner)


def caption(picture_sha256: str, model_version: str, settings: str, owner: str | None = None) -> str:
    return _of(f"caption:{picture_sha256}:{model_version}:{settings}", owner)


def uploaded(owner: str, day: str) -> str:
    return _of(f"uploaded:{day}", owner)


def _of(key: str, owner: str | None) -> str:
    """The key's namesake for one owner, which no other owner's can equal: names have no `@`."""
    return key if owner is None else f"{key}@{owner}"
