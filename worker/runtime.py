"""What lives as long as the worker process: the captioner, the batcher, the leases it holds, its heartbeat."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager

from celery import Celery
from redis import RedisError

from captioning.captioner import Captioner, Pixels
from common.jobs import Output, Status
from common.ledger import Claim, Claimed, Components, Worker
from common.ledger.submission import SCHEMA
from common.outbound import Outbound
from common.problems import Problem
from common.queue import CLAIM_SIZE, THREADS_PER_PICTURE, is_broker_reachable, notify, pending_notifications
from common.settings import Settings
from common.uploads import UploadStore, UploadsUnavailable
from worker.batcher import WAITING_BATCHES, Batcher, Done
from worker.lock import SharedExclusiveLock
from worker.recovery import recover_once, tidy_once
from worker.webhooks import SENDERS, WebhookSender

#: Seconds between two announcements that this worker is alive, two extensions of its leases, and two recoveries.
HEARTBEAT = 1.0
#: Parts of a short lease after which it is extended: two extensions may fail before it ends.
EXTENSIONS_PER_LEASE = 3
#: Seconds for which jobs may wait while this worker does nothing. The recovery notifies every second, so a worker
#: that still gets no notification has lost the broker without noticing; a fresh process is the cure.
STALLED_AFTER = 60.0
#: Seconds after which it begins to look whether the broker is there at all.
SILENT_AFTER = 10.0
#: Most notifications that one recovery sends: enough to have idle workers begin, too few to fill the broker.
RECOVERY_NOTIFICATIONS = 4
#: Seconds in which a recovery sends none after the broker did not answer, so that the log has few lines about it.
BROKER_PAUSE = 5.0

log = logging.getLogger(__name__)


class WorkerRuntime:
    """One worker's captioner with all that keeps its jobs safe."""

    def __init__(
        self,
        settings: Settings,
        captioner: Captioner,
        celery: Celery,
        components: Components,
        *,
        give_up: Callable[[int], None] = os._exit,
    ) -> None:
        self.settings = settings
        self.captioner = captioner
        self.celery = celery
        self.ledger = components.ledger
        self.uploads = UploadStore(settings.uploads_location)
        self.batcher: Batcher[Pixels, Output | Problem] = Batcher(captioner.caption, settings.max_batch)
        self.lock = SharedExclusiveLock()
        outbound = Outbound(settings.allow_local_urls)
        self.webhook_sender = WebhookSender(components.outbox, components.ledger, components.batches, outbound)
        self.stopping = threading.Event()
        self._workers = components.workers
        self._unreferenced = components.unreferenced
        self._name = f"{socket.gethostname()}-{os.getpid()}"
        #: The claims that are worked on, with the batcher's futures of those that are with it.
        self._held: dict[Claim, Future[Done[Output | Problem]] | None] = {}
        self._lock = threading.Lock()
        #: Held while jobs are claimed, so that two threads do not take for the same room in the batcher.
        self._claiming = threading.Lock()
        #: Images of batches held at once: what the batcher takes. Interactive ones are always claimed.
        self._most_bulk = WAITING_BATCHES * settings.max_batch
        #: Threads that work on images of batches, now and at most.
        self._bulk_tasks, self._most_bulk_tasks = 0, THREADS_PER_PICTURE * settings.max_batch
        self._notify_after = 0.0
        self._give_up = give_up
        self._last_busy = time.monotonic()
        self._closed = threading.Event()
        self._threads = [
            threading.Thread(target=self._every, args=(HEARTBEAT, self.beat), name="heartbeat", daemon=True),
            threading.Thread(
                target=self._every,
                args=(min(HEARTBEAT, settings.lease_seconds / EXTENSIONS_PER_LEASE), self.extend),
                name="leases",
                daemon=True,
            ),
            threading.Thread(target=self._every, args=(HEARTBEAT, self.recover), name="recovery", daemon=True),
            *(
                threading.Thread(
                    target=self._every, args=(HEARTBEAT, self.deliver), name=f"webhooks-{number}", daemon=True
                )
                for number in range(SENDERS)
            ),
        ]

    def start(self) -> None:
        """Begin to announce, to extend leases, to recover and to deliver webhooks."""
        for thread in self._threads:
            thread.start()

    @contextmanager
    def claiming(self) -> Iterator[Claimed]:
        """Claim the next jobs, and keep their leases alive while they are worked on."""
        with self._claiming:
            bulk = self._most_bulk - sum(claim.job.batch is not None for claim in self.held())
            free = self._bulk_tasks < self._most_bulk_tasks
            claimed = self.ledger.claim_next(CLAIM_SIZE, max(0, min(bulk, CLAIM_SIZE)) if free else 0)
            self._hold(claimed.claims)
            bulk_task = any(claim.job.batch is not None for claim in claimed.claims)
            self._bulk_tasks += bulk_task
        try:
            yield claimed
        finally:
            self.let_go(claimed.claims)
            with self._claiming:
                self._bulk_tasks -= bulk_task

    @contextmanager
    def claiming_suspect(self) -> Iterator[Claim | None]:
        """Claim a suspect, if one waits, likewise."""
        suspect = self.ledger.claim_suspect()
        claims = [suspect] if suspect else []
        self._hold(claims)
        try:
            yield suspect
        finally:
            self.let_go(claims)

    def held(self) -> list[Claim]:
        """The claims that are worked on."""
        with self._lock:
            return list(self._held)

    def holds(self, claim: Claim) -> bool:
        """Whether the claim is worked on and, as far as is known here, still holds."""
        with self._lock:
            return claim in self._held

    def await_result(self, claim: Claim, future: Future[Done[Output | Problem]]) -> None:
        """Have the batcher forget the picture should the claim be lost."""
        with self._lock:
            if claim in self._held:
                self._held[claim] = future
                return
        future.cancel()

    def let_go(self, claims: Iterable[Claim]) -> None:
        """Keep the leases of these claims alive no longer."""
        with self._lock:
            for claim in claims:
                self._held.pop(claim, None)
        self._last_busy = time.monotonic()

    def hand_back(self, claims: Sequence[Claim]) -> None:
        """Let other workers have these jobs."""
        if not claims:
            return
        released = self.ledger.release(claims)
        self.let_go(claims)
        notify(self.celery, len(released))

    def beat(self) -> None:
        """Announce this worker, and end it when it has stalled."""
        self._workers.announce(
            Worker(
                name=self._name,
                model=self.captioner.model,
                pictures_per_second=self.batcher.items_per_second,
                ledger_schema=SCHEMA,
            )
        )
        waiting = self.ledger.counts()[Status.QUEUED]
        silent = time.monotonic() - self._last_busy
        if (
            not waiting
            or self.held()
            or self.stopping.is_set()
            or (silent > SILENT_AFTER and not is_broker_reachable(self.celery))
        ):
            self._last_busy = time.monotonic()
        elif silent > STALLED_AFTER:
            log.error("%d jobs wait, but no notification has come for %.0f s; restarting.", waiting, STALLED_AFTER)
            self._give_up(1)

    def extend(self) -> None:
        """Extend the leases of what is worked on; what was canceled meanwhile leaves the batcher."""
        for claim in self.ledger.extend(self.held()):
            with self._lock:
                future = self._held.pop(claim, None)
            if future:
                future.cancel()

    def recover(self) -> None:
        """Take back the jobs of silent workers, notify of what waits, delete what expired and what no record knows."""
        recover_once(self.ledger, self.uploads, self._notify)
        tidy_once(self._unreferenced, self.uploads)

    def deliver(self) -> None:
        """Deliver the webhooks that are due."""
        self.webhook_sender.deliver(self.stopping)

    def close(self) -> None:
        """Finish what is in the batcher, hand back what is not done, and leave."""
        self.stopping.set()
        self.batcher.close()
        self._closed.set()
        try:
            self.hand_back(self.held())
            self._workers.leave(self._name)
        except RedisError as error:
            log.warning("Redis does not answer (%s); the leases will run out by themselves.", error)

    def _hold(self, claims: Iterable[Claim]) -> None:
        with self._lock:
            self._held |= dict.fromkeys(claims)

    def _notify(self, waiting: int) -> None:
        """Notify that so many jobs wait, in case notifications about them were lost, if none is at the broker."""
        if time.monotonic() < self._notify_after:
            return
        missing = min(waiting, (RECOVERY_NOTIFICATIONS - pending_notifications(self.celery)) * CLAIM_SIZE)
        if missing > 0 and not notify(self.celery, missing):
            self._notify_after = time.monotonic() + BROKER_PAUSE

    def _every(self, seconds: float, action: Callable[[], None]) -> None:
        away = False
        while not self._closed.wait(seconds):
            try:
                action()
            except RedisError as error:
                if not away:  # one line for each outage
                    log.warning("Redis does not answer (%s); going on when it is back.", error)
                away = True
            except UploadsUnavailable:
                pass  # the store has logged it
            except Exception:
                log.exception("The %s stumbled; going on.", threading.current_thread().name)
            else:
                away = False
