"""Worker operations: claim jobs, extend their leases, write their results or release them."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

from common.jobs import Job, ModelInfo, Output, Status, Timings
from common.ledger import keys, records
from common.ledger.base import Base
from common.ledger.scripts import record_of
from common.logs import Subject
from common.options import cache_key, model_of
from common.problems import Problem
from common.records import Failure

#: While jobs of both kinds wait, one claim in `BULK_SHARE` is of a bulk job.
BULK_SHARE = 8
#: First and longest delay in seconds before a postponed job is retried. The longest must be well below
#: `worker.runtime.STALL_TIMEOUT`, after which a worker without notifications exits while jobs wait.
MIN_RETRY_DELAY, MAX_RETRY_DELAY = 1.0, 30.0


@dataclass(frozen=True)
class Claim:
    """A worker's right to write one job's result, valid while its lease is extended."""

    job: Job
    token: str
    owner: str | None = None
    traceparent: str | None = None

    @property
    def id(self) -> str:
        return self.job.id

    @property
    def model(self) -> str:
        """The model that the job asks for; '' for none."""
        return model_of(self.job.options)

    @property
    def subject(self) -> Subject:
        """The job for log lines."""
        return Subject(self.job.id, self.job.batch, self.traceparent)


@dataclass(frozen=True)
class ClaimResult:
    """Result of `claim_next`: the claims, whether this worker can claim more jobs, and its number of suspects."""

    claims: list[Claim]
    more: bool
    suspects: int


@dataclass(frozen=True)
class Result:
    """Result of a claimed job: output, model and timings, or the problem.

    `output` is what the model said. It is cached as it is, and recorded inside the template of the job's options.
    """

    claim: Claim
    output: Output | None = None
    model: ModelInfo | None = None
    timings: Timings | None = None
    problem: Problem | None = None


class Leases(Base):
    """Leases jobs to one worker at a time; the lease's token fences its writes."""

    def claim_next(self, count: int, bulk: int | None = None, *, model: str = "") -> ClaimResult:
        """Claim up to `count` waiting jobs for `lease_seconds`, at most `bulk` of them bulk jobs.

        Only jobs that ask for no model or for `model` are claimed. Interactive jobs come first, but one claim in
        `BULK_SHARE` is of a bulk job while there are any. Within both kinds, owners are served round-robin, oldest job
        first. Suspects are claimed by `claim_suspect` only.
        """
        token, max_bulk = secrets.token_hex(8), count if bulk is None else bulk
        response = self._scripts.claim(
            args=[self._script_time(), self._settings.lease_seconds, token, count, max_bulk, BULK_SHARE, model]
        )
        claimed, more, suspects = cast("tuple[list[object], int, int]", response)
        return ClaimResult([_claim(record, token) for record in claimed], bool(more), suspects)

    def claim_suspect(self, model: str = "") -> Claim | None:
        """Claim the oldest suspect that asks for no model or for `model`.

        A lost worker had held it, so its image may have killed the worker.
        """
        token = secrets.token_hex(8)
        record = self._scripts.claim_suspect(args=[self._script_time(), self._settings.lease_seconds, token, model])
        return _claim(record, token) if record else None

    def is_waiting(self, model: str) -> bool:
        """Whether jobs wait that a worker with this model may claim."""
        return bool(self._redis.exists(*keys.claimable(model)))

    def extend(self, claims: Iterable[Claim]) -> list[Claim]:
        """Renew the leases. Returns the lost claims, whose jobs were canceled, deleted or claimed by another worker."""
        by_id = {claim.id: claim for claim in claims}
        if not by_id:
            return []
        pairs = [part for claim in by_id.values() for part in (claim.id, claim.token)]
        lost = self._scripts.extend(args=[self._script_time(), self._settings.lease_seconds, *pairs])
        return [by_id[job_id] for job_id in cast("list[str]", lost)]

    def finish(self, results: Sequence[Result]) -> list[bool]:
        """Write results. The list is False for each claim that is no longer valid, whose result is not written."""
        arguments: list[str] = []
        for result in results:
            cache, fields = self._cache_key(result), _fields(result)
            fields |= {"_cache": cache} if cache else {}
            caption = result.output.model_dump_json() if cache and result.output else ""
            flat = [part for field in fields.items() for part in field]
            arguments += [result.claim.id, result.claim.token, cache, caption, *_model_call(result)]
            arguments += [str(len(flat)), *flat]
        written = self._scripts.commit(args=[self._script_time(), int(self._settings.retention) + 1, *arguments])
        return [bool(flag) for flag in cast("list[int]", written)]

    def release(self, claims: Iterable[Claim]) -> list[str]:
        """Return jobs to the queue without counting the attempt, as on shutdown.

        Returns the ids of the jobs whose claims were still valid.
        """
        return self._release(claims, "")

    def postpone(self, claims: Iterable[Claim]) -> list[str]:
        """Return jobs that cannot be captioned now to the queue, such as those whose images cannot be loaded.

        The attempt does not count. They can be claimed again after `MIN_RETRY_DELAY`, which doubles each time up to
        `MAX_RETRY_DELAY`. Returns the ids of the jobs whose claims were still valid.
        """
        return self._release(claims, str(MIN_RETRY_DELAY))

    def _release(self, claims: Iterable[Claim], delay: str) -> list[str]:
        pairs = [part for claim in claims for part in (claim.id, claim.token)]
        return cast("list[str]", self._scripts.release(args=[self._script_time(), delay, MAX_RETRY_DELAY, *pairs]))

    def _cache_key(self, result: Result) -> str:
        """The key of the cached caption, or '' when the result has no caption to cache."""
        image = result.claim.job.input
        if not (image and result.model and result.output):
            return ""
        settings_key = cache_key(self._settings, result.claim.job.options)
        return keys.caption(image.sha256, result.model.version, settings_key, result.claim.owner)


def _claim(record: object, token: str) -> Claim:
    fields = record_of(record)
    job = records.from_fields(fields)
    assert job is not None, "scripts claim only jobs that have a record"
    return Claim(job, token, fields.get("_owner"), fields.get("_traceparent"))


def _model_call(result: Result) -> tuple[str, str, str]:
    """The name of the model, and the seconds and the size of its call, for the metrics; empty without a caption."""
    if result.model is None or result.timings is None:
        return "", "", ""
    return result.model.name, str(result.timings.model_seconds), str(result.timings.batch_size)


def _fields(result: Result) -> dict[str, str]:
    """The record's fields to write; the scripts expect the status first."""
    if result.problem is not None:
        return {"status": records.field(Status.FAILED), "error": records.field(Failure.of(result.problem))}
    options = result.claim.job.options
    output = result.output.with_template(options.template) if result.output and options else result.output
    members = {"output": output, "model": result.model, "timings": result.timings}
    members_json = {name: records.field(value) for name, value in members.items() if value is not None}
    return {"status": records.field(Status.SUCCEEDED), **members_json}
