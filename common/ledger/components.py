"""Composition root of the ledger: the only place that builds its components."""

from __future__ import annotations

from collections.abc import Callable

from redis import Redis

from common.ledger.archives import Archives
from common.ledger.base import Dependencies
from common.ledger.batches import Batches
from common.ledger.chunks import Chunks
from common.ledger.clock import redis_clock
from common.ledger.completions import Completions
from common.ledger.counters import Counters
from common.ledger.ledger import Ledger
from common.ledger.manifests import Manifests
from common.ledger.metrics import Metrics
from common.ledger.outbox import Outbox
from common.ledger.scripts import Scripts
from common.ledger.unreferenced import UnreferencedUploads
from common.ledger.workers import Workers
from common.settings import Settings


class Components:
    """The ledger's components on one Redis. A process builds them once and passes them on.

    `clock` returns the Unix time in seconds; only tests set it, the default is the time of Redis.
    """

    def __init__(self, redis: Redis, settings: Settings, clock: Callable[[], float] | None = None) -> None:
        now = clock or redis_clock(redis)
        self.workers = Workers(redis, settings, now)
        self.counters = Counters(redis)
        self.outbox = Outbox(redis, settings, now, self.counters)
        self.unreferenced = UnreferencedUploads(redis, settings, now)
        self.completions = Completions(redis)
        dependencies = Dependencies(redis, settings, now, clock, Scripts(redis), self.workers)
        self.ledger = Ledger(dependencies)
        self.batches = Batches(dependencies)
        self.archives = Archives(dependencies)
        self.manifests = Manifests(dependencies)
        self.chunks = Chunks(dependencies)
        self.metrics = Metrics(dependencies)
