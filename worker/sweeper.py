"""Does what the ledger's sweep found to be done."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from common.ledger import Ledger
from common.uploads import UploadStore


def sweep_once(ledger: Ledger, uploads: UploadStore, ring: Callable[[Sequence[str]], None]) -> None:
    """One sweep: ring for the jobs that need it, delete records and pictures whose time is over."""
    swept = ledger.sweep()
    if swept.ring:
        ring(swept.ring)
    for job_id in swept.expired:
        uploads.delete(job_id)  # first, so that a record without a picture is never what a crash leaves
        ledger.delete(job_id)
