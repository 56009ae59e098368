"""What a worker does: claim the next jobs, extend their leases, write their results or hand them back."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

from common.jobs import Failure, Job, ModelInfo, Output, Status, Timings
from common.ledger import keys, records
from common.ledger.base import Base
from common.ledger.scripts import record_of
from common.problems import Problem

#: While both lanes have jobs, one claim of so many is from the bulk lane.
BULK_SHARE = 8
#: Seconds until a job that was postponed is tried again, at first and at most. The longest must be well below
#: `worker.runtime.STALLED_AFTER`: a worker for which jobs wait that long without a notification ends itself.
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0


@dataclass(frozen=True)
class Claim:
    """A worker's right to write one job's result, for as long as its lease is extended."""

    job: Job
    token: str
    owner: str | None = None

    @property
    def id(self) -> str:
        return self.job.id


@dataclass(frozen=True)
class Claimed:
    """What a worker got: the claims, whether more jobs can be claimed, and how many suspects wait."""

    claims: list[Claim]
    more: bool
    suspects: int


@dataclass(frozen=True)
class Result:
    """How the work on a claim ended: with an output, the model's name and timings, or with the problem."""

    claim: Claim
    output: Output | None = None
    model: ModelInfo | None = None
    timings: Timings | None = None
    problem: Problem | None = None


class Leases(Base):
    """Gives jobs to one worker at a time; a write with a token that is not the lease's is refused."""

    def claim_next(self, count: int, bulk: int | None = None) -> Claimed:
        """Take at most `count` waiting jobs for `lease_seconds` each, at most `bulk` of them from the bulk lane.

        Interactive jobs come first, but of `BULK_SHARE` claims one is from the bulk lane while it has jobs. Within a
        lane the owners take turns, each with its oldest job. Suspects are left to `claim_suspect`.
        """
        token, most_bulk = secrets.token_hex(8), count if bulk is None else bulk
        answer = self._scripts.claim(
            args=[self._time(), self._settings.lease_seconds, token, count, most_bulk, BULK_SHARE]
        )
        claimed, more, suspects = cast("tuple[list[object], int, int]", answer)
        return Claimed([_claim(record, token) for record in claimed], bool(more), suspects)

    def claim_suspect(self) -> Claim | None:
        """Take the oldest job that was held when a worker was lost: its picture may be what ended it."""
        token = secrets.token_hex(8)
        record = self._scripts.claim_suspect(args=[self._time(), self._settings.lease_seconds, token])
        return _claim(record, token) if record else None

    def extend(self, claims: Iterable[Claim]) -> list[Claim]:
        """Begin the leases anew; returns the claims that were lost (canceled, deleted or given to another)."""
        asked = {claim.id: claim for claim in claims}
        if not asked:
            return []
        pairs = [part for claim in asked.values() for part in (claim.id, claim.token)]
        lost = self._scripts.extend(args=[self._time(), self._settings.lease_seconds, *pairs])
        return [asked[job_id] for job_id in cast("list[str]", lost)]

    def finish(self, results: Sequence[Result]) -> list[bool]:
        """Write results; False for those whose claim does not hold any more, of which nothing is written."""
        arguments: list[str] = []
        for result in results:
            cache, fields = self._cache_key(result), _fields(result)
            fields |= {"_cache": cache} if cache else {}
            remembered = result.output.model_dump_json() if cache and result.output else ""
            flat = [part for field in fields.items() for part in field]
            arguments += [result.claim.id, result.claim.token, cache, remembered, str(len(flat)), *flat]
        written = self._scripts.commit(args=[self._time(), int(self._settings.retention) + 1, *arguments])
        return [bool(each) for each in cast("list[int]", written)]

    def commit(self, claim: Claim, output: Output, *, model: ModelInfo, timings: Timings) -> bool:
        """Write the caption; False, and nothing is written, when the claim does not hold any more."""
        return self.finish([Result(claim, output, model, timings)])[0]

    def fail(self, claim: Claim, problem: Problem) -> bool:
        """Write why there is no caption; False when the claim does not hold any more."""
        return self.finish([Result(claim, problem=problem)])[0]

    def release(self, claims: Iterable[Claim]) -> list[str]:
        """Hand jobs back untouched, as a worker that shuts down does: the attempt does not count.

        Returns the ids of those whose claim still held.
        """
        return self._hand_back(claims, "")

    def postpone(self, claims: Iterable[Claim]) -> list[str]:
        """Hand jobs back that cannot be worked on now, as their images cannot be had: the attempt does not count.

        They can be claimed again after `FIRST_PAUSE`, which doubles each time up to `LONGEST_PAUSE`.
        """
        return self._hand_back(claims, str(FIRST_PAUSE))

    def _hand_back(self, claims: Iterable[Claim], pause: str) -> list[str]:
        pairs = [part for claim in claims for part in (claim.id, claim.token)]
        return cast("list[str]", self._scripts.hand_back(args=[self._time(), pause, LONGEST_PAUSE, *pairs]))

    def _cache_key(self, result: Result) -> str:
        """The key under which the caption of the same picture is remembered; '' where there is nothing to remember."""
        picture = result.claim.job.input
        if not (picture and result.model and result.output):
            return ""
        how = self._settings.caption_key
        return keys.caption(picture.sha256, result.model.version, how, result.claim.owner)


def _claim(record: object, token: str) -> Claim:
    fields = record_of(record)
    job = records.from_fields(fields)
    assert job is not None, "a script claims only jobs that have a record"
    return Claim(job, token, fields.get("_owner"))


def _fields(result: Result) -> dict[str, str]:
    """What is written into the record; scripts take the first for the status."""
    if result.problem is not None:
        return {"status": records.field(Status.FAILED), "error": records.field(Failure.of(result.problem))}
    members = {"output": result.output, "model": result.model, "timings": result.timings}
    known = {name: records.field(value) for name, value in members.items() if value is not None}
    return {"status": records.field(Status.SUCCEEDED), **known}
