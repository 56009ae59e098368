"""Claims one job that a test means, wherever it stands in the queue."""

from __future__ import annotations

from common.ledger import Claim, Ledger


def claim_job(ledger: Ledger, job_id: str) -> Claim | None:
    """The claim of this job; None when it does not wait. The other waiting jobs wait on."""
    claims = ledger.claim_next(1000).claims
    while suspect := ledger.claim_suspect():
        claims.append(suspect)
    ledger.release([claim for claim in claims if claim.id != job_id])
    return next((claim for claim in claims if claim.id == job_id), None)
