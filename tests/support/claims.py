"""Claims a given job regardless of its position in the queue, and writes the result of a claim."""

from __future__ import annotations

from common.jobs import ModelInfo, Output, Timings
from common.ledger import Claim, Ledger, Result
from common.problems import Problem


def claim_job(ledger: Ledger, job_id: str, model: str = "") -> Claim | None:
    """Claim this job as a worker with `model`; None when it is not waiting. Other waiting jobs stay in the queue."""
    claims = ledger.claim_next(1000, model=model).claims
    while suspect := ledger.claim_suspect(model):
        claims.append(suspect)
    ledger.release([claim for claim in claims if claim.id != job_id])
    return next((claim for claim in claims if claim.id == job_id), None)


def commit(ledger: Ledger, claim: Claim, output: Output, *, model: ModelInfo, timings: Timings) -> bool:
    """Write a caption; False when the claim is no longer valid."""
    return ledger.finish([Result(claim, output, model, timings)])[0]


def commit_failure(ledger: Ledger, claim: Claim, problem: Problem) -> bool:
    """Write the problem of a failed job; False when the claim is no longer valid."""
    return ledger.finish([Result(claim, problem=problem)])[0]
