"""What clients do: submit, cancel and delete jobs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit

from common import problems, strict_json
from common.jobs import Failure, InputInfo, Job, ModelInfo, Output, Status, moment
from common.ledger import keys, quotas, records
from common.ledger.queries import Queries
from common.problems import Problem

#: Version of a record's fields, as `_schema` in the record.
SCHEMA = 2


@dataclass(frozen=True)
class NewJob:
    """What is known of a job when it is recorded: it waits, or succeeded from the cache, or failed from the start.

    `webhook` is the URL that is told when the job has ended, or when all of its `batch` have; `prefix` is that of the
    `urls` which it is told.
    """

    input: InputInfo | None = None
    cached: tuple[ModelInfo, Output] | None = None
    error: Problem | None = None
    batch: str | None = None
    custom_id: str | None = None
    idempotency_key: str | None = None
    webhook: str | None = None
    prefix: str = ""


class Submission(Queries):
    """Makes jobs and ends them on request."""

    def admit(self, pictures: int = 1) -> None:
        """Raise `queue-full` or `quota-used-up` when `pictures` more would be too many."""
        quotas.admit(self._redis, self._settings, self._principal.owner, pictures)

    def charge(self, uploaded: int) -> None:
        """Count `uploaded` bytes for the owner's day; raises `quota-used-up`, and counts nothing then."""
        quotas.charge(self._redis, self._settings, self._principal.owner, uploaded, self._clock)

    def create(self, job_id: str, new: NewJob) -> Job:
        """Record a job, in one step.

        Returns the earlier job instead, and records nothing, when `new.idempotency_key` made one from the same
        picture; raises `idempotency-conflict` when it made one from another picture.
        """
        owner, retention = self._principal.owner, self._settings.retention
        unknown = moment(0)
        job = Job(
            id=job_id,
            status=Status.QUEUED,
            input=new.input,
            batch=new.batch,
            custom_id=new.custom_id,
            created_at=unknown,
            expires_at=unknown,
        )
        if new.cached is not None:
            model, output = new.cached
            update = {"status": Status.SUCCEEDED, "model": model, "output": output, "cached": True}
            job = job.model_copy(update=update)
        elif new.error is not None:
            job = job.model_copy(update={"status": Status.FAILED, "error": Failure.of(new.error)})
        idempotency = entry = ""
        if new.idempotency_key and new.input:
            idempotency = keys.idempotency(new.idempotency_key, owner)
            entry = strict_json.dumps({"id": job_id, "sha256": new.input.sha256})
        private = {
            "_schema": str(SCHEMA),
            "_owner": owner,
            "_idempotency": idempotency,
            "_webhook": new.webhook,
            "_webhook_host": host_of(new.webhook) if new.webhook else None,
            "_prefix": new.prefix if new.webhook else None,
        }
        fields = {**records.to_fields(job), **{name: value for name, value in private.items() if value}}
        flat = [part for field in fields.items() for part in field]
        of_job = [job_id, str(retention), owner or "", new.batch or "", job.status.value]
        answer = self._scripts.create(args=[self._time(), *of_job, idempotency, entry, *flat])
        now, earlier = cast("tuple[str | None, str | None]", answer)
        if now is None:
            found = self._earlier(earlier, new.input)
            if found is None:  # deleted since
                raise problems.IDEMPOTENCY_CONFLICT("The job of this Idempotency-Key was just deleted. Send it again.")
            return found
        created = float(now)
        times = {"created_at": moment(created), "expires_at": moment(created + retention)}
        if job.status.terminal:
            times["completed_at"] = moment(created)
        return job.model_copy(update=times)

    def remembered(self, idempotency_key: str, input: InputInfo) -> Job | None:
        """The job that `idempotency_key` made from the same picture; raises `idempotency-conflict`."""
        stored = cast("str | None", self._redis.get(keys.idempotency(idempotency_key, self._principal.owner)))
        return self._earlier(stored, input)

    def cached(self, picture_sha256: str, model_version: str) -> Output | None:
        """The caption that this model, with today's settings, made of the same picture of this owner before."""
        key = keys.caption(picture_sha256, model_version, self._settings.caption_key, self._principal.owner)
        stored = self._redis.get(key)
        return Output.model_validate_json(cast("str", stored)) if stored else None

    def cancel(self, job_id: str) -> Job:
        """Cancel an open job; a job that is done stays as it is. Raises `job-not-found` or `job-gone`."""
        self.get(job_id)  # raises for those who may not see it
        self._scripts.cancel(args=[self._time(), job_id])
        return self.get(job_id)

    def delete(self, job_id: str) -> None:
        """Remove every trace of the job but the mark that its id was known; its picture is the caller's.

        Raises `job-not-found` or `job-gone` for those who see only their own.
        """
        if not self._principal.sees_all:
            self.get(job_id)
        self._scripts.delete(args=[self._time(), job_id, self._settings.retention])

    def _earlier(self, entry: str | None, input: InputInfo | None) -> Job | None:
        """The job that an Idempotency-Key's entry names, if it is still kept."""
        if not entry:
            return None
        named = json.loads(entry)
        if input is None or named["sha256"] != input.sha256:
            raise problems.IDEMPOTENCY_CONFLICT(
                "This Idempotency-Key was sent before with another picture. Use a new key for a new picture."
            )
        return next(iter(self.read([named["id"]])), None)


def host_of(url: str) -> str:
    """Host name of a webhook's URL, which was validated on submission."""
    return urlsplit(url).hostname or ""
