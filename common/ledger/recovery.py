"""Finds what was left undone: jobs of silent workers, postponed jobs, and jobs whose time is over."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

from redis.exceptions import OutOfMemoryError

from common import problems
from common.jobs import Failure
from common.ledger import keys, records
from common.ledger.leases import LONGEST_PAUSE
from common.ledger.schema import Schema

#: No lease ends later than after so many of its lengths, unless Redis' clock was set back since it was given.
LEASES_AHEAD = 2
#: Leases, postponed and expired jobs looked at in one recovery, so that it stays short.
RECOVERY_LIMIT = 200
#: Milliseconds for which one process keeps the others from recovering.
RECOVERY_HOLD_MS = 900


@dataclass(frozen=True)
class Recovered:
    """How many jobs can be claimed now, and the ids of those whose time is over."""

    waiting: int = 0
    expired: list[str] = field(default_factory=list)


class Recovery(Schema):
    """Puts right what was left undone."""

    def recover(self) -> Recovered:
        """Have the jobs of silent workers wait again, and say how many wait and what is to be deleted.

        Call it about once a second from every worker: one of them does it at a time, and the others find nothing.
        """
        try:
            if not self._redis.set(keys.RECOVERING, 1, nx=True, px=RECOVERY_HOLD_MS):
                return Recovered()
        except OutOfMemoryError:  # only deleting makes room
            return Recovered(expired=self._expired())
        self.migrate()  # a web server of an earlier version may still run
        settings = self._settings
        lost = problems.WORKER_LOST(
            f"A worker stopped {settings.max_attempts} times while it captioned this picture, so it was given up. "
            "Try another copy of the picture, for example saved again as JPEG."
        )
        error = records.field(Failure.of(lost))
        waiting = self._scripts.recover(
            args=[
                self._time(),
                settings.lease_seconds,
                settings.max_attempts,
                error,
                RECOVERY_LIMIT,
                LONGEST_PAUSE,
                LEASES_AHEAD,
            ]
        )
        return Recovered(cast("int", waiting), self._expired())

    def postpone_expiry(self, job_id: str, seconds: float) -> None:
        """Have an expired job named again only after `seconds`."""
        self._redis.zadd(keys.EXPIRING, {job_id: self._clock() + seconds}, xx=True)

    def _expired(self) -> list[str]:
        now = self._clock()
        return cast("list[str]", self._redis.zrangebyscore(keys.EXPIRING, 0, now, start=0, num=RECOVERY_LIMIT))
