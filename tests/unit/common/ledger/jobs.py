"""Helpers that create, claim and recover jobs."""

from __future__ import annotations

from redis import Redis

from common.jobs import InputInfo, Job, ModelInfo, Output, Timings, new_id
from common.ledger import Claim, Ledger, NewJob, RecoveryResult
from tests.support.claims import claim_job

MODEL = ModelInfo(name="demo", version="sha256:1", demo=True)
IMAGE = InputInfo(filename="dog.jpg", sha256="d0", bytes=3, format="JPEG", width=4, height=5)
CAPTION = Output(caption="a dog", score=-1.0)
TIMINGS = Timings(queue_seconds=0.5, model_seconds=0.1, batch_size=2)


def create_job(ledger: Ledger, **kwargs: object) -> Job:
    """Create a job; a `batch` without a record takes jobs, too."""
    if batch := kwargs.get("batch"):
        ledger._redis.hsetnx(f"batch:{batch}", "sealed", "0")
    return ledger.create(new_id(), NewJob(input=IMAGE, **kwargs))  # type: ignore[arg-type]


def must_claim(ledger: Ledger, job: Job) -> Claim:
    claim = claim_job(ledger, job.id)
    assert claim is not None
    return claim


def recover(ledger: Ledger, redis: Redis) -> RecoveryResult:
    redis.delete("recovering")  # its TTL follows the real clock
    return ledger.recover()
