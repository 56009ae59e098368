"""Builders of all Redis keys used from Python; the package docstring documents the schema."""

from __future__ import annotations

import hashlib

from common.jobs import Status

LEASES = "leases"
DELAYED = "queue:delayed"
EXPIRING = "expiring"
EXPIRING_BATCHES = "expiring:batches"
DEADLINES = "deadlines"
BATCH_DEADLINES = "deadlines:batches"
ARCHIVES = "archives"
MANIFESTS = "manifests"
#: Beginnings of the keys of batches and of chunks.
BATCH_PREFIX, CHUNK_PREFIX = "batch:", "chunk:"
WORKERS = "workers"
MODELS = "models"
RECOVERING = "recovering"
TIDYING = "tidying"
TIDIED = "tidied"
ENDED = "jobs:ended"
SCHEMA = "schema"
PROBE = "probe"
#: Index of all jobs in schema 1; its entries are still to be migrated.
LEGACY_ALL = "jobs:all"
WEBHOOK_HOSTS = "webhooks:hosts"
WEBHOOKS_GIVEN_UP = "webhooks:given-up"
WEBHOOK_SECRET = "webhooks:secret"
API_KEYS = "api-keys"
METRICS = "metrics"


def job(job_id: str) -> str:
    return f"job:{job_id}"


def scope(owner: str | None = None, batch: str | None = None) -> str:
    """Key suffix of the indexes of one owner or one batch; '' for all jobs.

    Suffixes are unique, as owner names contain neither `@` nor `#`.
    """
    if batch is not None:
        return f"#{batch}"
    return "" if owner is None else f"@{owner}"


def all_jobs(scope: str = "") -> str:
    return f"index:all{scope}"


def in_status(status: Status, scope: str = "") -> str:
    return f"index:{status.value}{scope}"


def batch(batch_id: str) -> str:
    return f"{BATCH_PREFIX}{batch_id}"


def chunk(batch_id: str, number: int) -> str:
    return f"{CHUNK_PREFIX}{batch_id}/{number}"


def chunk_leases(model: str = "") -> str:
    """The leases of the chunks that ask for `model`; '' for none."""
    return _lane("chunks", model)


def claimable(model: str) -> list[str]:
    """Keys that exist only while jobs wait that a worker with this model may claim."""
    return [
        _lane(kind, asked) for kind in ("turns:interactive", "turns:bulk", "queue:suspects") for asked in ("", model)
    ]


def batches(scope: str = "") -> str:
    return f"batches{scope}"


def webhook(subject_id: str) -> str:
    return f"webhook:{subject_id}"


def webhooks_to(host: str) -> str:
    return f"webhooks:to:{host}"


def known(any_id: str) -> str:
    return f"known:{any_id}"


def idempotency(key: str, owner: str | None = None, batch: str | None = None) -> str:
    """The entry of an Idempotency-Key of an owner, or of an item of a batch.

    Contains a hash of the client's key, which may be long or private.
    """
    return f"idempotency:{hashlib.sha256(key.encode()).hexdigest()}{scope(owner, batch)}"


def caption(image_sha256: str, model_version: str, settings: str, owner: str | None = None) -> str:
    return f"caption:{image_sha256}:{model_version}:{settings}{scope(owner)}"


def uploaded(owner: str, day: str) -> str:
    return f"uploaded:{day}{scope(owner)}"


def _lane(name: str, model: str) -> str:
    return f"{name}:{model}" if model else name
