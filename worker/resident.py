"""What lives as long as the worker process: the captioner, the batcher, the leases it holds, its heartbeat."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from celery import Celery
from redis import RedisError

from common.jobs import Output, Status
from common.ledger import Batches, Claim, Ledger, Orphans, Outbox, Worker, Workers, connect
from common.outbound import Outbound
from common.problems import Problem
from common.queue import answers, ring
from common.settings import Settings
from common.uploads import UploadStore, UploadsUnavailable
from worker.batcher import Batcher
from worker.captioner import Captioner, Pixels
from worker.room import Room
from worker.sweeper import sweep_once, tidy_once
from worker.webhooks import SENDERS, Courier

#: Seconds between two announcements that this worker is alive.
BEAT = 1.0
#: Parts of a lease after which it is extended: two extensions may fail before it ends.
EXTENSIONS_PER_LEASE = 3
#: Seconds for which jobs may wait while this worker does nothing. Bells are rung again after ten, so a worker
#: that still hears none has lost the broker without noticing; a fresh process is the cure.
DEAF_AFTER = 60.0
#: Seconds after which it begins to look whether the broker is there at all: as long as a bell may take.
SILENT_AFTER = 10.0

log = logging.getLogger(__name__)


class Resident:
    """One worker's captioner with all that keeps its jobs safe."""

    def __init__(
        self,
        settings: Settings,
        captioner: Captioner,
        celery: Celery,
        *,
        give_up: Callable[[int], None] = os._exit,
    ) -> None:
        redis = connect(settings.redis_location)
        self.settings = settings
        self.captioner = captioner
        self.celery = celery
        self.ledger = Ledger(redis, settings)
        self.uploads = UploadStore(settings.uploads_location)
        self.batcher: Batcher[Pixels, Output | Problem] = Batcher(captioner.caption, settings.max_batch)
        self.room = Room()
        self.courier = Courier(
            Outbox(redis, settings),
            self.ledger,
            Batches(redis, settings, self.ledger),
            Outbound(settings.allow_local_urls),
        )
        self.stopping = threading.Event()
        self._workers = Workers(redis, settings)
        self._orphans = Orphans(redis, settings)
        self._name = f"{socket.gethostname()}-{os.getpid()}"
        self._held: set[Claim] = set()
        self._lock = threading.Lock()
        self._give_up = give_up
        self._last_busy = time.monotonic()
        self._closed = threading.Event()
        self._threads = [
            threading.Thread(target=self._every, args=(BEAT, self.beat), name="heartbeat", daemon=True),
            threading.Thread(
                target=self._every,
                args=(settings.lease_seconds / EXTENSIONS_PER_LEASE, self.extend),
                name="leases",
                daemon=True,
            ),
            threading.Thread(target=self._every, args=(BEAT, self.sweep), name="sweeper", daemon=True),
            *(
                threading.Thread(target=self._every, args=(BEAT, self.deliver), name=f"webhooks-{number}", daemon=True)
                for number in range(SENDERS)
            ),
        ]

    def start(self) -> None:
        """Begin to announce, to extend leases, to sweep and to deliver webhooks."""
        for thread in self._threads:
            thread.start()

    @contextmanager
    def holding(self, claim: Claim) -> Iterator[None]:
        """Keep the claim's lease alive while its job is worked on."""
        with self._lock:
            self._held.add(claim)
        try:
            yield
        finally:
            with self._lock:
                self._held.discard(claim)
            self._last_busy = time.monotonic()

    def held(self) -> list[Claim]:
        """The claims that are worked on."""
        with self._lock:
            return list(self._held)

    def beat(self) -> None:
        """Announce this worker, and end it when it has gone deaf."""
        self._workers.announce(
            Worker(
                name=self._name,
                model=self.captioner.model,
                pictures_per_second=self.batcher.items_per_second,
            )
        )
        waiting = self.ledger.counts()[Status.QUEUED]
        silent = time.monotonic() - self._last_busy
        if not waiting or self.held() or self.stopping.is_set() or (silent > SILENT_AFTER and not answers(self.celery)):
            self._last_busy = time.monotonic()
        elif silent > DEAF_AFTER:
            log.error("%d jobs wait, but no bell has been heard for %.0f s; starting afresh.", waiting, DEAF_AFTER)
            self._give_up(1)

    def extend(self) -> None:
        """Extend the leases of what is worked on."""
        self.ledger.extend(self.held())

    def sweep(self) -> None:
        """Take back the jobs of silent workers, ring for lost bells, delete what expired and what no record knows."""
        sweep_once(self.ledger, self.uploads, lambda job_ids: ring(self.celery, job_ids))
        tidy_once(self._orphans, self.uploads)

    def deliver(self) -> None:
        """Deliver the webhooks that are due."""
        self.courier.deliver(self.stopping)

    def close(self) -> None:
        """Finish what is in the batcher, hand back what is not done, and leave."""
        self.stopping.set()
        self.batcher.close()
        self._closed.set()
        try:
            handed_back = [claim.id for claim in self.held() if self.ledger.release(claim)]
            ring(self.celery, handed_back)
            self._workers.leave(self._name)
        except RedisError as error:
            log.warning("Redis does not answer (%s); the leases will run out by themselves.", error)

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
