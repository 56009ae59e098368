"""Records that one worker at a time works on: archives, manifests and their chunks. They are leased as jobs are."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import ClassVar, cast

from redis.commands.core import Script

from common.ledger import keys, records
from common.ledger.base import Base
from common.ledger.scripts import record_of
from common.logs import Subject
from common.problems import Problem
from common.records import Failure


@dataclass(frozen=True)
class TaskClaim:
    """A worker's right to work on one record, valid while its lease is extended.

    `attempts` is the number of claims, with this one, since the last one that counted as progress.
    """

    id: str
    token: str
    attempts: int

    @property
    def subject(self) -> Subject:
        """What log lines are about."""
        return Subject(batch_id=self.id)


class Tasks(Base):
    """Leases records to one worker at a time; the lease's token fences what the worker writes."""

    #: Sorted set: id of a record -> time from which it may be claimed, such as the end of the current lease.
    _leases: ClassVar[str]
    #: Beginning of the record's key, and of the names of its fields for status, token and attempts.
    _record: ClassVar[str]
    _field: ClassVar[str]
    #: The status of a record that is claimed.
    _claimed_status: ClassVar[str]

    def extend(self, claim: TaskClaim, attempts: int | None = None) -> bool:
        """Renew the lease. Returns False when the claim is lost. `attempts` changes the recorded number."""
        return self._set_lease(claim, self._settings.lease_seconds, "" if attempts is None else str(attempts))

    def release(self, claim: TaskClaim, delay: float = 0.0) -> None:
        """Let another worker claim the record after `delay` seconds, without counting the attempt."""
        self._set_lease(claim, delay, str(claim.attempts - 1))

    def _claim(self) -> tuple[TaskClaim, dict[str, str]] | None:
        """Claim the next record for `lease_seconds`; returns its fields before the claim, too. None if none waits."""
        return self._claim_by(self._scripts.claim_task, self._leases, self._record, self._field, self._claimed_status)

    def _claim_by(self, script: Script, *arguments: str) -> tuple[TaskClaim, dict[str, str]] | None:
        """Claim a record by a script that takes the time, the lease and the token before its other arguments."""
        token = secrets.token_hex(8)
        claimed = script(args=[self._script_time(), self._settings.lease_seconds, token, *arguments])
        if not claimed:
            return None
        task_id, record = cast("tuple[str, object]", claimed)
        fields = record_of(record)
        return TaskClaim(task_id, token, int(fields.get(f"{self._field}attempts", 0)) + 1), fields

    def _leases_of(self, claim: TaskClaim) -> str:
        """The key of the leases that a claim is in."""
        return self._leases

    def _set_lease(self, claim: TaskClaim, seconds: float, attempts: str) -> bool:
        schema = [self._leases_of(claim), self._record, self._field]
        arguments = [claim.id, claim.token, str(seconds), attempts]
        return bool(self._scripts.extend_task(args=[self._script_time(), *schema, *arguments]))


class BatchTasks(Tasks):
    """Tasks that fill a batch: unpacking its archive, cutting its manifest. Their end seals the batch."""

    _record = keys.BATCH_PREFIX

    def finish(self, claim: TaskClaim, problem: Problem | None = None) -> bool:
        """End the task, with a problem if it failed, and seal the batch. Returns False when the claim is lost."""
        error = records.field(Failure.of(problem)) if problem else ""
        arguments = [self._leases, self._field, claim.id, claim.token, error]
        return bool(self._scripts.finish_task(args=[self._script_time(), *arguments]))
