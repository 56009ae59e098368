"""The ledger as one: what clients, workers and the recovery do with jobs."""

from __future__ import annotations

from common.ledger.leases import Leases
from common.ledger.recovery import Recovery
from common.ledger.submission import Submission


class Ledger(Submission, Leases, Recovery):
    """Every job's record in Redis; see the package's docstring for the keys and the promise."""
