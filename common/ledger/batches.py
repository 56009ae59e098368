"""Batches: jobs that were submitted together. Counts are index sizes, so they cannot drift."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from common import problems
from common.jobs import Batch, Job, RequestCounts, moment
from common.ledger import keys, records
from common.ledger.base import Base
from common.ledger.queries import Queries
from common.ledger.submission import host_of

#: Jobs read or canceled per round trip.
PAGE_SIZE = 500


class Batches(Base):
    """Batch records."""

    def create(self, batch_id: str, webhook: str | None = None, prefix: str = "") -> None:
        """Record a batch; then create its jobs by `Ledger.create` with `NewJob(batch=batch_id)`.

        `webhook` is the URL notified when no job of the batch is open any more; call `seal` after the last job.
        `prefix` is the path prefix of the `urls` in the webhook.
        """
        now, retention = self._clock(), self._settings.retention
        owner = self._principal.owner or ""
        fields: records.Fields = {"created_at": str(now), "expires_at": str(now + retention), "owner": owner}
        if webhook:
            fields |= {"webhook": webhook, "webhook_host": host_of(webhook), "prefix": prefix}
        pipe = self._redis.pipeline()
        pipe.hset(keys.batch(batch_id), mapping=fields)
        pipe.expire(keys.batch(batch_id), int(retention) + 1)
        pipe.set(keys.known(batch_id), owner, ex=int(2 * retention) + 1)
        pipe.execute()

    def seal(self, batch_id: str) -> None:
        """Mark the batch as complete; if all its jobs have already ended, its webhook becomes due."""
        self._scripts.seal(args=[self._script_time(), batch_id])

    def get(self, batch_id: str) -> Batch:
        """The batch with its job counts. Raises `batch-not-found` or `batch-gone`."""
        fields = cast("dict[str, str]", self._redis.hgetall(keys.batch(batch_id)))
        if not fields or not self._principal.may_see(fields["owner"] or None):
            raise self._missing_problem(
                batch_id,
                problems.BATCH_NOT_FOUND("No batch has this id. Check the address, or send the pictures again."),
                problems.BATCH_GONE("This batch was deleted, by request or because its retention time ended."),
            )
        counts = {status.value: count for status, count in self._queries().counts(keys.scope(batch=batch_id)).items()}
        return Batch(
            id=batch_id,
            request_counts=RequestCounts(total=sum(counts.values()), **counts),
            created_at=moment(float(fields["created_at"])),
            expires_at=moment(float(fields["expires_at"])),
        )

    def prefix(self, batch_id: str) -> str:
        """The path prefix of the `urls` in the batch's webhook."""
        return cast("str | None", self._redis.hget(keys.batch(batch_id), "prefix")) or ""

    def jobs(self, batch_id: str) -> Iterator[Job]:
        """The batch's existing jobs in the order of submission, read lazily in pages."""
        for ids in self._pages(batch_id):
            yield from self._queries().read(ids)

    def cancel(self, batch_id: str) -> Batch:
        """Cancel the batch's open jobs. Raises `batch-not-found` or `batch-gone`."""
        self.get(batch_id)
        for ids in self._pages(batch_id):
            self._scripts.cancel(args=[self._script_time(), *ids])
        return self.get(batch_id)

    def _pages(self, batch_id: str) -> Iterator[list[str]]:
        """The ids of the batch's jobs, `PAGE_SIZE` at a time."""
        key, start = keys.all_jobs(keys.scope(batch=batch_id)), "-"
        while ids := cast("list[str]", self._redis.zrangebylex(key, start, "+", start=0, num=PAGE_SIZE)):
            yield ids
            start = f"({ids[-1]}"

    def _queries(self) -> Queries:
        return Queries(self._dependencies, self._principal)
