"""The composition root of the ledger: the one place that builds its parts."""

from __future__ import annotations

from collections.abc import Callable

from redis import Redis

from common.ledger.base import Shared
from common.ledger.batches import Batches
from common.ledger.clock import clock_of
from common.ledger.completions import Completions
from common.ledger.ledger import Ledger
from common.ledger.outbox import Outbox
from common.ledger.scripts import Scripts
from common.ledger.unreferenced import UnreferencedUploads
from common.ledger.workers import Workers
from common.settings import Settings


class Components:
    """The ledger's parts on one Redis; a process builds them once and hands them to whoever works with them.

    `clock` gives the Unix time in seconds and is for tests; by default it is Redis' own time.
    """

    def __init__(self, redis: Redis, settings: Settings, clock: Callable[[], float] | None = None) -> None:
        now = clock or clock_of(redis)
        self.workers = Workers(redis, settings, now)
        self.outbox = Outbox(redis, settings, now)
        self.unreferenced = UnreferencedUploads(redis, settings, now)
        self.completions = Completions(redis)
        shared = Shared(redis, settings, now, clock, Scripts(redis), self.workers)
        self.ledger = Ledger(shared)
        self.batches = Batches(shared)
