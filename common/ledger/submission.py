"""Client operations: submit, cancel and delete jobs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit

from common import problems, strict_json
from common.jobs import InputInfo, Job, ModelInfo, Output, Status, moment
from common.ledger import keys, quotas, records
from common.ledger.base import PROBE_TTL
from common.ledger.queries import Queries
from common.options import CaptionOptions, cache_key, model_of
from common.problems import Problem
from common.records import Failure
from common.translation import _

#: Schema version of the ledger, stored as `_schema` in each job record. It must be raised whenever workers of the
#: earlier version would treat new jobs wrongly: those with schema 2 would caption without the job's options, and those
#: with schema 3 would not claim jobs and chunks that ask for a model, and would caption lost ones with any.
SCHEMA_VERSION = 4
#: Detail of the problem of a batch that takes no more jobs.
SEALED_DETAIL = _("This batch is sealed, canceled, or that of an archive. Create a new batch for further pictures.")


@dataclass(frozen=True)
class NewJob:
    """Fields of a job to record: queued, or succeeded with a `cached` caption, or failed with an `error`.

    `idempotency_key` is unique for the owner, or in the `batch` if there is one; with `unique_while_open`, only among
    jobs that have not ended. `cancel_after` is the number of
    seconds after which the job is canceled. `webhook` is the URL notified when the job, or its whole `batch`, has
    ended; `prefix` is the path prefix of the `urls` in the webhook.
    `traceparent` is the trace of the request.
    The cached caption is what the model said, without the template of `options`.
    """

    input: InputInfo | None = None
    cached: tuple[ModelInfo, Output] | None = None
    error: Problem | None = None
    batch: str | None = None
    custom_id: str | None = None
    idempotency_key: str | None = None
    unique_while_open: bool = False
    cancel_after: int | None = None
    webhook: str | None = None
    prefix: str = ""
    traceparent: str | None = None
    options: CaptionOptions | None = None


class Submission(Queries):
    """Creates, cancels and deletes jobs."""

    def check_writable(self) -> None:
        """Raise `redis.RedisError` unless Redis takes writes.

        It does not when its memory or disk is full, when it is a replica, or when it lacks replicas that it needs.
        """
        self._redis.set(keys.PROBE, 1, ex=PROBE_TTL)

    def admit(self, images: int = 1) -> None:
        """Raise `queue-full` or `quota-used-up` if `images` more exceed a limit."""
        quotas.admit(self._redis, self._settings, self._principal.owner, images)

    def charge(self, uploaded: int) -> None:
        """Add `uploaded` bytes to the owner's count of the day; raises `quota-used-up` without counting them."""
        quotas.charge(self._redis, self._settings, self._principal.owner, uploaded, self._clock)

    def create(self, job_id: str, new: NewJob) -> Job:
        """Record a job atomically.

        If a job with `new.idempotency_key` exists for the same image and options, returns that job and records
        nothing; raises `idempotency-conflict`, or in a batch `custom-id-conflict`, if it exists for another image, and
        `idempotency-conflict` if it exists for other options. Raises `batch-sealed` or `batch-gone` if the batch takes
        no more jobs, and `NotReplicated`.
        """
        owner, retention = self._principal.owner, self._settings.retention
        placeholder = moment(0)
        job = Job(
            id=job_id,
            status=Status.QUEUED,
            input=new.input,
            batch=new.batch,
            custom_id=new.custom_id,
            options=new.options,
            created_at=placeholder,
            expires_at=placeholder,
        )
        if new.cached is not None:
            model, output = new.cached
            output = output.with_template(new.options.template) if new.options else output
            update = {"status": Status.SUCCEEDED, "model": model, "output": output, "cached": True}
            job = job.model_copy(update=update)
        elif new.error is not None:
            job = job.model_copy(update={"status": Status.FAILED, "error": Failure.of(new.error)})
        idempotency = entry = ""
        sha256 = new.input.sha256 if new.input else ""
        if new.idempotency_key:
            idempotency = keys.idempotency(new.idempotency_key, owner, new.batch)
            reference = {"id": job_id, "sha256": sha256}
            entry = strict_json.dumps(reference | {"while_open": True} if new.unique_while_open else reference)
        private = {
            "_schema": str(SCHEMA_VERSION),
            "_owner": owner,
            "_idempotency": idempotency,
            "_webhook": new.webhook,
            "_webhook_host": host_of(new.webhook) if new.webhook else None,
            "_prefix": new.prefix if new.webhook else None,
            "_traceparent": new.traceparent,
        }
        fields = {**records.to_fields(job), **{name: value for name, value in private.items() if value}}
        flat = [part for field in fields.items() for part in field]
        job_arguments = [job_id, str(retention), owner or "", new.batch or "", model_of(new.options), job.status.value]
        cancel_after = "" if new.cancel_after is None else str(new.cancel_after)
        response = self._scripts.create(
            args=[self._script_time(), *job_arguments, idempotency, entry, cancel_after, *flat]
        )
        now, existing = cast("tuple[str | None, str | None]", response)
        if now is None and existing is None:
            raise self._closed_batch_problem(new.batch or "")
        if now is None:
            existing_job = self._existing_job(existing, sha256, new.batch, new.options)
            if existing_job is None:  # deleted meanwhile
                raise problems.IDEMPOTENCY_CONFLICT("The job of this Idempotency-Key was just deleted. Send it again.")
            return existing_job
        self._await_replicas(keys.job(job_id))
        created = float(now)
        times = {"created_at": moment(created), "expires_at": moment(created + retention)}
        if job.status.terminal:
            times["completed_at"] = moment(created)
        return job.model_copy(update=times)

    def find_idempotent(
        self, idempotency_key: str, sha256: str, batch: str | None = None, options: CaptionOptions | None = None
    ) -> Job | None:
        """The job created with `idempotency_key` for the same image and options, if any; raises as `create` does."""
        stored = cast("str | None", self._redis.get(keys.idempotency(idempotency_key, self._principal.owner, batch)))
        return self._existing_job(stored, sha256, batch, options)

    def recorded_items(self, batch: str, idempotency_keys: Sequence[str]) -> set[str]:
        """Those of the `idempotency_keys` for which the batch has a job."""
        pipe = self._redis.pipeline(transaction=False)
        for key in idempotency_keys:
            pipe.exists(keys.idempotency(key, batch=batch))
        return {key for key, exists in zip(idempotency_keys, pipe.execute(), strict=True) if exists}

    def cached_caption(
        self, image_sha256: str, model_version: str, options: CaptionOptions | None = None
    ) -> Output | None:
        """The owner's cached caption of the same image by this model with the current settings and `options`, if any.

        It has no template.
        """
        settings_key = cache_key(self._settings, options)
        key = keys.caption(image_sha256, model_version, settings_key, self._principal.owner)
        stored = self._redis.get(key)
        if not stored:
            return None
        return Output.model_validate_json(cast("str", stored)).judged(self._settings.unsure_below)

    def cancel(self, job_id: str) -> Job:
        """Cancel an open job; an ended job does not change. Raises `job-not-found` or `job-gone`."""
        self.get(job_id)  # raises if the principal may not see the job
        self._scripts.cancel(args=[self._script_time(), "", job_id])
        return self.get(job_id)

    def retry(self, job_id: str) -> tuple[Job, bool]:
        """Queue a failed or canceled job again if its image is stored; returns the job, and whether it was queued.

        Raises `job-not-found`, `job-gone`, or the problem of a limit on open jobs.
        """
        job = self.get(job_id)
        if job.status not in (Status.FAILED, Status.CANCELED) or not job.has_image:
            return job, False
        quotas.admit(self._redis, self._settings, self._principal.owner, 1)
        retried = cast("list[str]", self._scripts.retry(args=[self._script_time(), job_id]))
        return self.get(job_id), bool(retried)

    def delete(self, job_id: str) -> None:
        """Delete all keys of the job except `known:{id}`; the caller deletes its image.

        Raises `job-not-found` or `job-gone` unless the principal sees all jobs.
        """
        if not self._principal.sees_all:
            self.get(job_id)
        self._scripts.delete(args=[self._script_time(), job_id, self._settings.retention])

    def _closed_batch_problem(self, batch: str) -> Problem:
        if self._redis.exists(keys.batch(batch)):
            return problems.BATCH_SEALED(SEALED_DETAIL)
        return self._missing_batch(batch)

    def _existing_job(
        self, entry: str | None, sha256: str, batch: str | None, options: CaptionOptions | None
    ) -> Job | None:
        """The job named by an idempotency entry, if it still exists; raises the problem of another image or options."""
        if not entry:
            return None
        reference = json.loads(entry)
        if reference["sha256"] != sha256:
            if batch is not None:
                raise problems.CUSTOM_ID_CONFLICT(
                    "The batch already has another picture with this `custom_id`. Use a new one for a new picture."
                )
            raise problems.IDEMPOTENCY_CONFLICT(
                "This Idempotency-Key was already used with another picture. Use a new key for a new picture."
            )
        job = next(iter(self.read([reference["id"]])), None)
        if job is None:
            return None
        if job.options != options:
            raise problems.IDEMPOTENCY_CONFLICT(
                "This Idempotency-Key was already used with other options. Use a new key for new options."
            )
        self._await_replicas(keys.job(job.id))
        return job


def host_of(url: str) -> str:
    """Host name of a webhook URL. The URL was validated on submission."""
    return urlsplit(url).hostname or ""
