"""Recovery: requeues jobs of lost workers and postponed jobs, and finds expired jobs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

from redis.exceptions import OutOfMemoryError

from common import problems
from common.ledger import keys, records
from common.ledger.leases import MAX_RETRY_DELAY
from common.ledger.schema import Schema
from common.ledger.scripts import record_of
from common.records import Failure
from common.translation import ngettext

#: A lease that ends more than this many lease lengths ahead was granted before the clock of Redis was set back.
MAX_LEASES_AHEAD = 2
#: Maximum of leases, of postponed and of expired jobs handled per recovery, which keeps it short.
RECOVERY_LIMIT = 200
#: TTL in milliseconds of the lock that lets one process recover at a time.
RECOVERY_LOCK_MS = 900


@dataclass(frozen=True)
class RecoveryResult:
    """The number of jobs that can be claimed now, the ids of expired jobs and batches, and of batches to cancel.

    `waiting` has the models that these jobs ask for, '' for none, and their numbers; of more than `RECOVERY_LIMIT`
    owners, at least that many.
    """

    waiting: dict[str, int] = field(default_factory=dict)
    expired: list[str] = field(default_factory=list)
    expired_batches: list[str] = field(default_factory=list)
    overdue_batches: list[str] = field(default_factory=list)


class Recovery(Schema):
    """Periodic recovery, run by the workers."""

    def recover(self) -> RecoveryResult:
        """Requeue the jobs of lost workers and cancel those whose Cancel-After has passed.

        Returns the numbers of waiting jobs, and the expired records and overdue batches that the caller handles.

        Every worker calls this about once a second. One of them recovers at a time, the others get an empty result.
        """
        try:
            if not self._redis.set(keys.RECOVERING, 1, nx=True, px=RECOVERY_LOCK_MS):
                return RecoveryResult()
        except OutOfMemoryError:  # only deletions free memory
            return RecoveryResult(expired=self._due(keys.EXPIRING), expired_batches=self._due(keys.EXPIRING_BATCHES))
        self.migrate()  # a web server with schema 1 may still be running, and Redis may not have answered at the start
        settings = self._settings
        lost = problems.WORKER_LOST(
            ngettext(
                "A worker stopped responding while captioning this picture. Try another copy of the picture, for "
                "example saved again as JPEG.",
                "Workers stopped responding {count} times while captioning this picture. Try another copy of the "
                "picture, for example saved again as JPEG.",
                settings.max_attempts,
            )
        )
        error = records.field(Failure.of(lost))
        waiting = self._scripts.recover(
            args=[
                self._script_time(),
                settings.lease_seconds,
                settings.max_attempts,
                error,
                RECOVERY_LIMIT,
                MAX_RETRY_DELAY,
                MAX_LEASES_AHEAD,
            ]
        )
        self._cancel_overdue()
        return RecoveryResult(
            {model: int(jobs) for model, jobs in record_of(waiting).items()},
            self._due(keys.EXPIRING),
            self._due(keys.EXPIRING_BATCHES),
            self._due(keys.BATCH_DEADLINES),
        )

    def postpone_expiry(self, job_id: str, seconds: float) -> None:
        """Report an expired job again only after `seconds`."""
        self._redis.zadd(keys.EXPIRING, {job_id: self._clock() + seconds}, xx=True)

    def _cancel_overdue(self) -> None:
        """Cancel the jobs whose deadline has passed; those that have ended do not change."""
        if overdue := self._due(keys.DEADLINES):
            error = Failure.of(
                problems.DEADLINE_EXCEEDED("Its `Cancel-After` passed before the picture had a caption.")
            )
            self._scripts.cancel(args=[self._script_time(), records.field(error), *overdue])
            self._redis.zrem(keys.DEADLINES, *overdue)

    def _due(self, key: str) -> list[str]:
        """Up to `RECOVERY_LIMIT` ids of a sorted set of times that have passed, earliest first."""
        return cast("list[str]", self._redis.zrangebyscore(key, 0, self._clock(), start=0, num=RECOVERY_LIMIT))
