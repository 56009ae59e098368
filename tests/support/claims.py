"""Claims a given job regardless of its position in the queue."""

from __future__ import annotations

from common.ledger import Claim, Ledger


def claim_job(ledger: Ledger, job_id: str) -> Claim | None:
    """Claim this job; None when it is not waiting. Other waiting jobs stay in the queue."""
    claims = ledger.claim_next(1000).claims
    while suspect := ledger.claim_suspect():
        claims.append(suspect)
    ledger.release([claim for claim in claims if claim.id != job_id])
    return next((claim for claim in claims if claim.id == job_id), None)
