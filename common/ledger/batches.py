"""Batches: jobs that were sent together, counted from the jobs themselves so that the counts cannot drift."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from typing import cast

from redis import Redis
from redis.client import Pipeline

from common import problems
from common.jobs import Batch, Job, RequestCounts, moment
from common.ledger import keys
from common.ledger.announcements import SENDING, leave_batch
from common.ledger.clock import clock_of
from common.ledger.ledger import Ledger, missing
from common.ledger.records import Fields
from common.ledger.transitions import transaction
from common.ledger.viewer import EVERYBODY, Viewer
from common.settings import Settings


class Batches:
    """The records of batches."""

    def __init__(
        self, redis: Redis, settings: Settings, ledger: Ledger, clock: Callable[[], float] | None = None
    ) -> None:
        self._redis = redis
        self._settings = settings
        self._ledger = ledger
        self._clock = clock or clock_of(redis)
        self._viewer = EVERYBODY

    def for_viewer(self, viewer: Viewer) -> Batches:
        """The batches as `viewer` sees them: what they make is theirs, and what is not theirs is not there."""
        seen = copy.copy(self)
        seen._viewer, seen._ledger = viewer, self._ledger.for_viewer(viewer)
        return seen

    def create(self, batch_id: str, webhook: str | None = None, prefix: str = "") -> None:
        """Record a batch; its jobs are then made by `Ledger.create(..., batch=batch_id)`.

        With a `webhook`, the URL that is told when none of them is open any more, call `seal` after the last. `prefix`
        is that of the `urls` which it is told.
        """
        now = self._clock()
        expires = now + self._settings.retention
        pipe = self._redis.pipeline()
        owner = self._viewer.owner or ""
        fields: Fields = {"created_at": str(now), "expires_at": str(expires), "owner": owner}
        pipe.hset(keys.batch(batch_id), mapping=fields)
        pipe.expire(keys.batch(batch_id), int(self._settings.retention) + 1)
        pipe.set(keys.known(batch_id), owner, ex=int(2 * self._settings.retention) + 1)
        if webhook:
            pipe.hset(keys.batch(batch_id), "prefix", prefix)
            pipe.sadd(keys.batch_open(batch_id), SENDING)
            pipe.expire(keys.batch_open(batch_id), int(self._settings.retention) + 1)
        pipe.execute()

    def seal(self, batch_id: str, webhook: str) -> None:
        """Say that the batch has all its jobs; if all of them have ended already, its webhook is due."""

        def write(pipe: Pipeline) -> None:
            leave = leave_batch(pipe, batch_id, SENDING, webhook, self._clock())
            pipe.multi()
            leave(pipe)

        transaction(self._redis, write)

    def get(self, batch_id: str) -> Batch:
        """The batch with its counts; raises `batch-not-found` or `batch-gone`."""
        fields = cast("dict[str, str]", self._redis.hgetall(keys.batch(batch_id)))
        if not fields or not self._viewer.may_see(fields["owner"] or None):
            maker = cast("str | None", self._redis.get(keys.known(batch_id)))
            known = maker is not None and self._viewer.may_see(maker or None)
            raise missing(known, problems.BATCH_NOT_FOUND, problems.BATCH_GONE, "batch")
        counts = Counter(job.status.value for job in self.jobs(batch_id))
        return Batch(
            id=batch_id,
            request_counts=RequestCounts(total=counts.total(), **counts),
            created_at=moment(float(fields["created_at"])),
            expires_at=moment(float(fields["expires_at"])),
        )

    def prefix(self, batch_id: str) -> str:
        """The prefix of the `urls` that the batch's webhook is told."""
        return cast("str | None", self._redis.hget(keys.batch(batch_id), "prefix")) or ""

    def jobs(self, batch_id: str) -> list[Job]:
        """The batch's jobs that are still kept, in the order of submission."""
        return self._ledger.read(cast("list[str]", self._redis.lrange(keys.batch_jobs(batch_id), 0, -1)))

    def cancel(self, batch_id: str) -> Batch:
        """Cancel what is open of the batch; raises `batch-not-found` or `batch-gone`."""
        self.get(batch_id)
        for job in self.jobs(batch_id):
            if not job.status.terminal:
                self._ledger.cancel(job.id)
        return self.get(batch_id)
