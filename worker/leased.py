"""Work on leased records, one at a time in a thread of its own: archives, manifests and chunks."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from redis import RedisError

from common import logs, problems
from common.ledger import TaskClaim
from common.problems import Problem
from common.settings import Settings
from common.translation import Message

#: Problems after which a record is claimed again, and the seconds until then.
TEMPORARY = (problems.UPLOADS_UNAVAILABLE, problems.STORAGE_FULL, problems.NOT_READY)
RETRY_DELAY = 5.0
#: Seconds between attempts to write to Redis while it is unavailable.
WRITE_RETRY_DELAY = 0.5

ClaimT = TypeVar("ClaimT", bound=TaskClaim)
ClaimT_co = TypeVar("ClaimT_co", bound=TaskClaim, covariant=True)


class Stopped(Exception):
    """The worker shuts down, or the claim is lost."""


class Work(Generic[ClaimT]):
    """A claim in progress. `progress` is set once this attempt need not count."""

    def __init__(self, claim: ClaimT, stopping: threading.Event) -> None:
        self.claim = claim
        self.stopping = stopping
        self.lost = False
        self.progress = False

    def raise_if_stopped(self) -> None:
        """Raise `Stopped` if the work must not go on."""
        if self.lost or self.stopping.is_set():
            raise Stopped


class LeasedRecords(Protocol[ClaimT_co]):
    """What a component of the ledger offers, a subclass of `common.ledger.tasks.Tasks`."""

    def claim(self) -> ClaimT_co | None: ...

    def extend(self, claim: TaskClaim, attempts: int | None = None) -> bool: ...

    def release(self, claim: TaskClaim, delay: float = 0.0) -> None: ...


class LeasedWorker(ABC, Generic[ClaimT]):
    """Works on the records of `records`. One thread calls `run`, another one `extend`.

    A killed worker's record is claimed by another one when its lease ends. After `max_attempts` such claims it fails.
    """

    def __init__(self, settings: Settings, records: LeasedRecords[ClaimT]) -> None:
        self._settings = settings
        self._records = records
        self._running = threading.Lock()
        self._work: Work[ClaimT] | None = None

    def run(self, stopping: threading.Event) -> None:
        """Work on the records that wait, until none is left or `stopping` is set."""
        with self._running:
            while not stopping.is_set() and (claim := self._claim()):
                self._work = Work(claim, stopping)
                try:
                    with logs.about(claim.subject):
                        self._attempt(self._work)
                finally:
                    self._work = None

    def extend(self) -> None:
        """Extend the lease of the claim in progress, if any; the work on it stops if it is lost."""
        work = self._work
        if work and not self._records.extend(work.claim, self._counted_attempts(work)):
            work.lost = True

    def _note_progress(self, work: Work[ClaimT]) -> None:
        """Let this attempt no longer count. Recorded at once, as the worker may be lost before it extends the lease."""
        if not work.progress:
            work.progress = True
            work.lost = work.lost or not self._records.extend(work.claim, 0)

    def wait_until_stopped(self) -> None:
        """Wait until `run` has returned after `stopping` was set."""
        with self._running:
            pass

    def _until_redis_answers(self, work: Work[ClaimT], write: Callable[[], object]) -> None:
        """Call `write` again while Redis does not answer, so that the work before is not lost.

        Raises `redis.RedisError` on shutdown.
        """
        while True:
            try:
                write()
                return
            except RedisError:
                if work.stopping.wait(WRITE_RETRY_DELAY):
                    raise

    def _claim(self) -> ClaimT | None:
        """Claim the next record that this worker may work on; None if none waits."""
        return self._records.claim()

    @abstractmethod
    def _carry_out(self, work: Work[ClaimT]) -> None:
        """Do the work and record its end. Raises `Stopped`, or the `Problem` for which it fails."""

    @abstractmethod
    def _fail(self, claim: ClaimT, problem: Problem) -> None:
        """Record that the work failed."""

    @abstractmethod
    def _lost_sentence(self, attempts: int) -> Message:
        """Why it failed after so many attempts whose workers were lost."""

    def _counted_attempts(self, work: Work[ClaimT]) -> int | None:
        """The number of attempts to record; None for no change."""
        return 0 if work.progress else None

    def _attempt(self, work: Work[ClaimT]) -> None:
        claim, limit = work.claim, self._settings.max_attempts
        try:
            if claim.attempts > limit:
                raise problems.WORKER_LOST(self._lost_sentence(limit))
            self._carry_out(work)
        except Stopped:
            if not work.lost:
                self._records.release(claim)
        except Problem as problem:
            if problem.kind in TEMPORARY:
                self._records.release(claim, RETRY_DELAY)
            else:
                self._fail(claim, problem)
