"""Builds every Redis key; the schema stands in the package's docstring."""

from __future__ import annotations

import hashlib

from common.jobs import Status

ALL = "jobs:all"
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


def in_status(status: Status) -> str:
    return f"jobs:{status.value}"


def batch(batch_id: str) -> str:
    return f"batch:{batch_id}"


def batch_jobs(batch_id: str) -> str:
    return f"batch:{batch_id}:jobs"


def batch_open(batch_id: str) -> str:
    return f"batch:{batch_id}:open"


def webhook(about_id: str) -> str:
    return f"webhook:{about_id}"


def webhooks_to(host: str) -> str:
    return f"webhooks:to:{host}"


def known(any_id: str) -> str:
    return f"known:{any_id}"


def idempotency(key: str) -> str:
    """The client's key is hashed: it may be long, and it is the client's business."""
    return f"idempotency:{hashlib.sha256(key.encode()).hexdigest()}"


def caption(picture_sha256: str, model_version: str, settings: str) -> str:
    return f"caption:{picture_sha256}:{model_version}:{settings}"
