"""Batches: jobs that belong together. Counts are index sizes, so they cannot drift."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import cast

from common import problems, strict_json
from common.jobs import Archive, Batch, BatchStatus, Job, RequestCounts, Status, moment
from common.ledger import keys, quotas, records
from common.ledger.base import Base
from common.ledger.queries import Origin, Queries
from common.ledger.submission import SEALED_DETAIL, host_of
from common.ledger.workers import outage
from common.manifest_records import ChunkCounts, Manifest, ManifestStatus, PictureCounts, ResultFormat
from common.options import CaptionOptions, model_of
from common.problems import Problem
from common.records import Failure
from common.translation import Message, _

#: Jobs or chunks read, canceled, deleted or queued again per round trip.
PAGE_SIZE = 500

CANCELED_BY_CLIENT = _("The batch was canceled by a request.")
CANCELED_BY_DEADLINE = _("`Cancel-After` passed before all pictures had captions.")


@dataclass(frozen=True)
class NewManifest:
    """A manifest to caption: its URL, and URL and format of its files of results."""

    url: str
    output: str
    format: ResultFormat = ResultFormat.JSONL


@dataclass(frozen=True)
class NewBatch:
    """Fields of a batch to record.

    `archive` is the file name of a ZIP archive that is stored under the batch's id and waits to be unpacked, and
    `archive_bytes` its size. A batch with a `manifest` has no jobs. `cancel_after` is the number of seconds after which
    the batch is canceled. `webhook` is the URL notified when the batch is sealed and none of its jobs and chunks is
    open; `prefix` is the path prefix of the `urls` in the webhook, and `traceparent` the trace of the request.
    """

    name: str | None = None
    options: CaptionOptions | None = None
    archive: str | None = None
    archive_bytes: int = 0
    manifest: NewManifest | None = None
    cancel_after: int | None = None
    webhook: str | None = None
    prefix: str = ""
    traceparent: str | None = None


class Batches(Base):
    """Batch records."""

    def create(self, batch_id: str, new: NewBatch | None = None) -> None:
        """Record a batch; then create its jobs by `Ledger.create` with `NewJob(batch=batch_id)`, and call `seal`.

        Raises `NotReplicated`.
        """
        new = new or NewBatch()
        fields = {
            "name": new.name,
            "options": strict_json.dumps(new.options.body()) if new.options else None,
            "model": model_of(new.options),
            "webhook": new.webhook,
            "webhook_host": host_of(new.webhook) if new.webhook else None,
            "prefix": new.prefix,
            "traceparent": new.traceparent,
        }
        if new.archive is not None:
            fields |= {
                "archive_filename": new.archive,
                "archive_status": "waiting",
                "archive_bytes": str(new.archive_bytes),
            }
        if new.manifest is not None:
            fields |= {
                "manifest": new.manifest.url,
                "manifest_output": new.manifest.output,
                "manifest_format": new.manifest.format,
                "manifest_status": ManifestStatus.WAITING,
            }
        flat = [part for name, value in fields.items() if value for part in (name, value)]
        cancel_after = "" if new.cancel_after is None else str(new.cancel_after)
        tasks = keys.ARCHIVES if new.archive is not None else keys.MANIFESTS if new.manifest else ""
        arguments = [batch_id, str(self._settings.retention), self._principal.owner or "", cancel_after, tasks]
        self._scripts.create_batch(args=[self._script_time(), *arguments, *flat])
        self._await_replicas(keys.batch(batch_id))

    def seal(self, batch_id: str) -> None:
        """Seal the batch: it takes no more jobs. If all its jobs have already ended, its webhook becomes due.

        Raises `NotReplicated`.
        """
        self._scripts.seal(args=[self._script_time(), batch_id, ""])
        self._await_replicas(keys.batch(batch_id))

    def get(self, batch_id: str) -> Batch:
        """The batch with its job counts. Raises `batch-not-found` or `batch-gone`."""
        batch = next(iter(self._read([batch_id])), None)
        if batch is None:
            raise self._missing_batch(batch_id)
        return batch

    def recent(self, *, limit: int = 50, cursor: str | None = None) -> tuple[list[Batch], str | None]:
        """Up to `limit` batches after the batch `cursor`, newest first, and the cursor of the next page, if any."""
        key = keys.batches(keys.scope(None if self._principal.sees_all else self._principal.owner))
        ids, next_cursor = self._newest(key, limit, cursor)
        return self._read(ids), next_cursor

    def for_item(self, batch_id: str) -> tuple[NewBatch, Problem | None]:
        """The fields of the batch that its items share, and why it takes no more: `batch-sealed` or `too-many-images`.

        Raises `batch-not-found` or `batch-gone`.
        """
        pipe = self._redis.pipeline(transaction=False)
        pipe.hgetall(keys.batch(batch_id))
        pipe.zcard(keys.all_jobs(keys.scope(batch=batch_id)))
        fields, jobs = pipe.execute()
        if not fields or not self._principal.may_see(fields["owner"] or None):
            raise self._missing_batch(batch_id)
        closed = None
        if fields.get("sealed") != "0" or fields.keys() & {"archive_filename", "manifest"}:
            closed = problems.BATCH_SEALED(SEALED_DETAIL)
        elif jobs >= self._settings.max_batch_items:
            closed = problems.TOO_MANY_IMAGES(
                "The batch has {pictures} pictures, which is the maximum. Create a new batch.", pictures=jobs
            )
        return NewBatch(options=records.options_of(fields), webhook=fields.get("webhook")), closed

    def origin(self, batch_id: str) -> Origin:
        """What the batch's webhook needs of the request that created it."""
        prefix, traceparent = cast("list[str | None]", self._redis.hmget(keys.batch(batch_id), "prefix", "traceparent"))
        return Origin(prefix or "", traceparent)

    def version(self, batch_id: str) -> int:
        """Number of changes of the batch's ended jobs: they ended, were edited or were deleted.

        While none of its jobs is open, a batch with the same number has the same results.
        """
        return int(cast("str | None", self._redis.hget(keys.batch(batch_id), "version")) or 0)

    def jobs(self, batch_id: str) -> Iterator[Job]:
        """The batch's existing jobs in the order of submission, read lazily in pages."""
        for ids in self._pages(batch_id):
            yield from self._queries().read(ids)

    def page(
        self, batch_id: str, *, status: Status | None = None, limit: int = 50, cursor: str | None = None
    ) -> tuple[list[Job], str | None]:
        """Up to `limit` jobs of the batch after the job `cursor`, in the order of submission, and the next cursor."""
        ids = self._ids(batch_id, status, cursor, limit + 1)
        return self._queries().read(ids[:limit]), ids[limit - 1] if len(ids) > limit else None

    def cancel(self, batch_id: str, reason: Message = CANCELED_BY_CLIENT) -> Batch:
        """Cancel the batch's open jobs; it takes no more. Raises `batch-not-found` or `batch-gone`.

        A batch that has ended does not change.
        """
        batch = self.get(batch_id)
        if batch.status in (BatchStatus.OPEN, BatchStatus.IN_PROGRESS):
            self._scripts.seal(args=[self._script_time(), batch_id, str(reason)])
            error = ""
            if (batch.canceled_reason or str(reason)) == str(CANCELED_BY_DEADLINE):
                error = records.field(Failure.of(problems.DEADLINE_EXCEEDED(CANCELED_BY_DEADLINE)))
            for ids in self._pages(batch_id):
                self._scripts.cancel(args=[self._script_time(), error, *ids])
            if batch.manifest:
                for pages in self._chunk_pages(batch_id):
                    self._scripts.cancel_chunks(args=[self._script_time(), batch_id, *pages])
        self._redis.zrem(keys.BATCH_DEADLINES, batch_id)
        return self.get(batch_id)

    def retry(self, batch_id: str) -> tuple[Batch, int]:
        """Queue the failed and canceled jobs whose image is stored again; returns the batch and their number.

        Failed and canceled chunks of a manifest wait again, and a manifest that was not cut to its end is cut on. The
        batch is then no longer canceled. Raises `batch-not-found`, `batch-gone`, or the problem of a limit on open
        jobs; those that were queued before stay queued.
        """
        retried = 0
        if self.get(batch_id).manifest:
            self._reopen(batch_id)
            for pages in self._chunk_pages(batch_id):
                self._scripts.retry_chunks(args=[self._script_time(), batch_id, *pages])
        for status in (Status.FAILED, Status.CANCELED):
            for ids in self._pages(batch_id, status):
                stored = [job.id for job in self._queries().read(ids) if job.has_image]
                if not stored:
                    continue
                quotas.admit(self._redis, self._settings, self._principal.owner, len(stored))
                self._reopen(batch_id)
                retried += len(cast("list[str]", self._scripts.retry(args=[self._script_time(), *stored])))
        return self.get(batch_id), retried

    def delete(self, batch_id: str) -> list[str]:
        """Delete the batch: its open jobs are canceled, and the recovery deletes all its jobs within seconds.

        Returns the ids of the first jobs, at most `PAGE_SIZE`, so that the caller can delete these at once; it also
        deletes the archive. Raises `batch-not-found` or `batch-gone`.
        """
        self.get(batch_id)
        self._redis.hdel(keys.batch(batch_id), "webhook")
        self._scripts.seal(args=[self._script_time(), batch_id, ""])
        now, first = self._clock(), list[str]()
        for ids in self._pages(batch_id):
            first = first or ids
            self._scripts.cancel(args=[self._script_time(), "", *ids])
            self._redis.zadd(keys.EXPIRING, dict.fromkeys(ids, now), xx=True)
        self.remove(batch_id)
        return first

    def remove(self, batch_id: str) -> None:
        """Delete the records of the batch and its chunks, as when it has expired. Its jobs do not change."""
        for pages in self._chunk_pages(batch_id):
            self._scripts.delete_chunks(args=[batch_id, *pages])
        self._scripts.delete_batch(args=[batch_id])

    def _reopen(self, batch_id: str) -> None:
        """Let a batch that was canceled as a whole go on, without its deadline."""
        self._redis.hdel(keys.batch(batch_id), "canceled_reason", "cancel_after")
        self._redis.zrem(keys.BATCH_DEADLINES, batch_id)

    def _chunk_pages(self, batch_id: str) -> Iterator[tuple[int, int]]:
        """First number and size of each page of the batch's chunks: at least one page with a manifest, else none."""
        manifest, chunks = self._redis.hmget(keys.batch(batch_id), "manifest", "manifest_chunks")
        for first in range(0, max(1, int(chunks or 0)) if manifest else 0, PAGE_SIZE):
            yield first, PAGE_SIZE

    def _read(self, batch_ids: Iterable[str]) -> list[Batch]:
        """The existing batches that the principal may see, in the same order."""
        pipe = self._redis.pipeline(transaction=False)
        batch_ids = list(batch_ids)
        for batch_id in batch_ids:
            pipe.hgetall(keys.batch(batch_id))
            for status in Status:
                pipe.zcard(keys.in_status(status, keys.scope(batch=batch_id)))
        answers, width = pipe.execute(), 1 + len(Status)
        batches = []
        for number, batch_id in enumerate(batch_ids):
            fields, *counts = answers[number * width : (number + 1) * width]
            if fields and self._principal.may_see(fields["owner"] or None):
                batches.append(_batch(batch_id, fields, dict(zip(Status, counts, strict=True))))
        return self._with_reasons(batches)

    def _with_reasons(self, batches: list[Batch]) -> list[Batch]:
        """The batches with the reasons why their jobs or chunks wait."""
        if not any(map(_waits, batches)):
            return batches
        alive = self._dependencies.workers.alive()
        reasons = (outage(alive, model_of(batch.options)) if _waits(batch) else None for batch in batches)
        return [batch.model_copy(update={"reason": reason}) for batch, reason in zip(batches, reasons, strict=True)]

    def _pages(self, batch_id: str, status: Status | None = None) -> Iterator[list[str]]:
        """The ids of the batch's jobs in the order of submission, `PAGE_SIZE` at a time."""
        cursor = None
        while ids := self._ids(batch_id, status, cursor, PAGE_SIZE):
            yield ids
            cursor = ids[-1]

    def _ids(self, batch_id: str, status: Status | None, cursor: str | None, limit: int) -> list[str]:
        scope = keys.scope(batch=batch_id)
        key = keys.in_status(status, scope) if status else keys.all_jobs(scope)
        start = f"({cursor}" if cursor else "-"
        return cast("list[str]", self._redis.zrangebylex(key, start, "+", start=0, num=limit))

    def _queries(self) -> Queries:
        return Queries(self._dependencies, self._principal)


def _waits(batch: Batch) -> bool:
    """Whether jobs or chunks of the batch may wait for a worker."""
    return bool(batch.request_counts.queued or (batch.manifest and batch.status is BatchStatus.IN_PROGRESS))


def _batch(batch_id: str, fields: dict[str, str], counts: dict[Status, int]) -> Batch:
    archive = None
    if "archive_filename" in fields:
        error = json.loads(fields["archive_error"]) if "archive_error" in fields else None
        archive = Archive.model_validate(
            {"filename": fields["archive_filename"], "status": fields["archive_status"], "error": error}
        )
    manifest = _manifest(fields) if "manifest" in fields else None
    reason = fields.get("canceled_reason")
    sealed = fields.get("sealed") != "0"  # batches of schema 2 have no such field once they are complete
    if not sealed:
        status = BatchStatus.IN_PROGRESS if archive or manifest else BatchStatus.OPEN
    elif counts[Status.QUEUED] or counts[Status.PROCESSING] or (manifest and manifest.open):
        status = BatchStatus.IN_PROGRESS
    else:
        status = BatchStatus.CANCELED if reason else BatchStatus.COMPLETED
    return Batch(
        id=batch_id,
        name=fields.get("name"),
        status=status,
        options=records.options_of(fields),
        archive=archive,
        manifest=manifest,
        request_counts=RequestCounts(
            total=sum(counts.values()), **{status.value: count for status, count in counts.items()}
        ),
        canceled_reason=reason,
        created_at=moment(float(fields["created_at"])),
        cancel_after=moment(float(fields["cancel_after"])) if "cancel_after" in fields else None,
        expires_at=moment(float(fields["expires_at"])),
    )


def _manifest(fields: dict[str, str]) -> Manifest:
    def number(name: str) -> int:
        return int(fields.get(f"manifest_{name}", 0))

    return Manifest(
        url=fields["manifest"],
        status=ManifestStatus(fields["manifest_status"]),
        format=ResultFormat(fields["manifest_format"]),
        output=fields["manifest_output"],
        chunks=ChunkCounts(
            total=number("chunks"),
            done=number("chunks_done"),
            failed=number("chunks_failed"),
            canceled=number("chunks_canceled"),
        ),
        pictures=PictureCounts(captioned=number("captioned"), failed=number("failed")),
        error=Failure.model_validate(json.loads(fields["manifest_error"])) if "manifest_error" in fields else None,
    )
