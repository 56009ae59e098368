"""The ledger: all job operations of clients, workers and the recovery."""

from __future__ import annotations

from common.ledger.edits import Edits
from common.ledger.leases import Leases
from common.ledger.recovery import Recovery
from common.ledger.submission import Submission


class Ledger(Submission, Edits, Leases, Recovery):
    """Job records in Redis; the package docstring documents the keys and the guarantees."""
