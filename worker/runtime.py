"""Worker runtime: captioner, batcher, held leases, heartbeat, recovery and webhook threads of a worker process."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import psutil
from celery import Celery
from redis import RedisError

from captioning.captioner import Captioner, ModelUnavailable, Pixels
from common import logs
from common.images.sandbox import sandbox
from common.jobs import Output
from common.ledger import Claim, ClaimResult, Components, Worker
from common.ledger.submission import SCHEMA_VERSION
from common.logs import Subject
from common.manifests import ManifestSource, ResultStore
from common.options import CaptionOptions, SearchOptions
from common.outbound import Outbound
from common.problems import Problem
from common.queue import CLAIM_SIZE, THREADS_PER_PICTURE, is_broker_reachable, notify, pending_notifications
from common.settings import Settings
from common.translation import Message
from common.uploads import UploadStore
from worker.archives.unpacker import Unpacker
from worker.batcher import QUEUED_BATCHES, Batcher, Closed
from worker.claims import HeldClaims
from worker.leased import LeasedWorker
from worker.lock import SharedExclusiveLock
from worker.manifests.chunk_worker import ChunkWorker
from worker.manifests.cutter import Cutter
from worker.manifests.formats import ManifestFiles
from worker.periodic import periodic_thread
from worker.recovery import delete_unreferenced_once, recover_once
from worker.webhooks import SENDER_THREADS, WebhookSender

#: Seconds between heartbeats, between lease extensions and between recoveries.
HEARTBEAT_INTERVAL = 1.0
#: Extensions per lease if it is short, so that two may fail before it ends.
EXTENSIONS_PER_LEASE = 3
#: Seconds for which this worker may be idle while jobs wait. The recovery notifies every second, so a worker without
#: notifications has lost the broker without noticing. It exits, and the supervisor starts a new process.
STALL_TIMEOUT = 60.0
#: Idle seconds after which the worker checks whether the broker is reachable.
BROKER_CHECK_DELAY = 10.0
#: Seconds after a signal to stop in which the jobs that this worker holds are finished. After that it only completes
#: the model call in progress. Kubernetes and the compose file send SIGKILL after 45 s.
DRAIN_TIMEOUT = 20.0
#: Maximum of pending notifications for each model after a recovery: enough to start idle workers, too few to fill the
#: broker.
MAX_RECOVERY_NOTIFICATIONS = 4
#: Seconds without notifications after the broker did not answer, which limits the log lines about it.
BROKER_RETRY_DELAY = 5.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PreparedImage:
    """A model input, what the model is asked for, and the job it is of."""

    pixels: Pixels
    search: SearchOptions
    subject: Subject


class WorkerRuntime:
    """State and background threads of one worker process."""

    def __init__(
        self,
        settings: Settings,
        captioner: Captioner,
        celery: Celery,
        components: Components,
        *,
        exit_process: Callable[[int], None] = os._exit,
    ) -> None:
        self.settings = settings
        self.captioner = captioner
        #: The model whose jobs this worker claims, besides those that ask for none.
        self._model = captioner.model.name
        self.celery = celery
        self.ledger, self._batches = components.ledger, components.batches
        self.uploads = UploadStore(settings.uploads_location)
        self.batcher: Batcher[PreparedImage, Output | Problem] = Batcher(
            self._caption,
            lambda image: image.search,
            1 if captioner.server else settings.max_batch,
            lambda images: logs.about(*(image.subject for image in images)),
            threads=settings.max_batch if captioner.server else 1,
        )
        self.lock = SharedExclusiveLock()
        outbound = Outbound(settings.allow_local_urls)
        self.webhook_sender = WebhookSender(components.outbox, components.ledger, components.batches, outbound)
        self.unpacker = Unpacker(settings, components, self.uploads, celery)
        source, results = ManifestSource(settings.manifest_root_urls), ResultStore(settings.results_location)
        if settings.manifest_roots:
            results.create()
        files = ManifestFiles(source, results)
        self.cutter = Cutter(settings, components, files)
        self.chunk_worker = ChunkWorker(
            settings, components, files, source, results, self._caption_bytes, captioner.model
        )
        #: Limits the pictures of chunks that are decoded, so that a job's picture waits for one of them at most.
        self._decoding = threading.BoundedSemaphore(sandbox().processes)
        self._leased_workers: list[LeasedWorker[Any]] = [self.unpacker, self.cutter, self.chunk_worker]
        self.stopping = threading.Event()
        self._workers = components.workers
        self._unreferenced = components.unreferenced
        self._counters = components.counters
        host, pid = socket.gethostname(), os.getpid()
        self._identity = Worker(
            name=f"{host}-{pid}",
            model=captioner.model,
            ledger_schema=SCHEMA_VERSION,
            host=host,
            pid=pid,
            version=version("captiond"),
            device=captioner.device,
            precision=captioner.precision,
            capacity=settings.max_batch,
        )
        self.claims = HeldClaims()
        #: Held while claiming, so that two threads do not use the same free capacity of the batcher.
        self._claiming = threading.Lock()
        #: Maximum of bulk jobs held: the batcher's capacity. Interactive jobs have no limit.
        self._max_bulk = QUEUED_BATCHES * settings.max_batch
        #: Number of threads that work on bulk jobs, and its maximum.
        self._bulk_tasks, self._max_bulk_tasks = 0, THREADS_PER_PICTURE * settings.max_batch
        self._notify_after = 0.0
        #: When the jobs that wait for the model are returned; None until this worker is stopping.
        self._return_at: float | None = None
        self._exit_process = exit_process
        self._last_busy = time.monotonic()
        self._closed = threading.Event()
        extend_interval = min(HEARTBEAT_INTERVAL, settings.lease_seconds / EXTENSIONS_PER_LEASE)
        self._threads = [
            periodic_thread("heartbeat", HEARTBEAT_INTERVAL, self.heartbeat, self._closed),
            periodic_thread("leases", extend_interval, self.extend, self._closed),
            periodic_thread("recovery", HEARTBEAT_INTERVAL, self.recover, self._closed),
            periodic_thread("archives", HEARTBEAT_INTERVAL, self.unpack, self._closed),
            periodic_thread("manifests", HEARTBEAT_INTERVAL, self.cut, self._closed),
            periodic_thread("chunks", HEARTBEAT_INTERVAL, self.caption_chunks, self._closed),
            periodic_thread("model-server", HEARTBEAT_INTERVAL, self.check_server, self._closed),
            *(
                periodic_thread(f"webhooks-{number}", HEARTBEAT_INTERVAL, self.deliver, self._closed)
                for number in range(SENDER_THREADS)
            ),
        ]

    def start(self) -> None:
        """Start the threads for heartbeat, lease extension, recovery, archives, manifests and webhooks."""
        for thread in self._threads:
            thread.start()

    @contextmanager
    def claim_jobs(self) -> Iterator[ClaimResult]:
        """Claim the next jobs and extend their leases until the context ends.

        None while the model's server is unavailable, because they would wait here instead of at another worker.
        """
        if self._unavailable():
            self._last_busy = time.monotonic()
            yield ClaimResult([], more=False, suspects=0)
            return
        with self._claiming:
            bulk = self._max_bulk - sum(claim.job.batch is not None for claim in self.claims)
            free = self._bulk_tasks < self._max_bulk_tasks
            bulk = max(0, min(bulk, CLAIM_SIZE)) if free else 0
            claimed = self.ledger.claim_next(CLAIM_SIZE, bulk, model=self._model)
            self.claims.add(claimed.claims)
            bulk_task = any(claim.job.batch is not None for claim in claimed.claims)
            self._bulk_tasks += bulk_task
        try:
            yield claimed
        finally:
            self.drop(claimed.claims)
            with self._claiming:
                self._bulk_tasks -= bulk_task

    @contextmanager
    def claim_suspect(self) -> Iterator[Claim | None]:
        """Claim a suspect, if any, and extend its lease until the context ends.

        Meanwhile no picture of a chunk is worked on, so the chunk does not lose an attempt with the worker.
        """
        with self.chunk_worker.uncounted():
            suspect = self.ledger.claim_suspect(self._model)
            claims = [suspect] if suspect else []
            self.claims.add(claims)
            try:
                yield suspect
            finally:
                self.drop(claims)

    def drop(self, claims: Iterable[Claim]) -> None:
        """Stop extending the leases of these claims."""
        self.claims.remove(claims)
        self._last_busy = time.monotonic()

    def release(self, claims: Sequence[Claim]) -> None:
        """Return these jobs to the queue and notify the workers."""
        if not claims:
            return
        released = set(self.ledger.release(claims))
        self.drop(claims)
        for model, jobs in Counter(claim.model for claim in claims if claim.id in released).items():
            notify(self.celery, jobs, model)

    def pass_on(self) -> None:
        """Let other workers claim the jobs that this one leaves, because it has received their notification."""
        for model in ("", self._model):
            notify(self.celery, 1, model)

    def heartbeat(self) -> None:
        """Record this worker as alive, and exit the process if it has stalled."""
        measured = {
            "model": self.captioner.model,
            "loaded": self.captioner.loaded,
            "pictures_per_second": self.batcher.items_per_second,
            "memory_bytes": psutil.Process().memory_info().rss,
            "jobs": len(self.claims),
            "unavailable": self._unavailable(),
        }
        self._identity = self._workers.announce(self._identity.model_copy(update=measured))
        idle = time.monotonic() - self._last_busy
        if (
            not self.ledger.is_waiting(self._model)
            or self.claims
            or self.stopping.is_set()
            or (idle > BROKER_CHECK_DELAY and not is_broker_reachable(self.celery))
        ):
            self._last_busy = time.monotonic()
        elif idle > STALL_TIMEOUT:
            log.error("Jobs are waiting, but this worker got no notification for %.0f s; exiting.", STALL_TIMEOUT)
            self._exit_process(1)

    def extend(self) -> None:
        """Extend the leases of the claims in progress, and stop the work on lost claims.

        When this worker has been stopping for `DRAIN_TIMEOUT`, the jobs that wait for the model return to the queue.
        """
        for worker in self._leased_workers:
            worker.extend()
        self.claims.lose(self.ledger.extend(list(self.claims)))
        if self.stopping.is_set():
            if self._return_at is None:
                self._return_at = time.monotonic() + DRAIN_TIMEOUT
            if time.monotonic() >= self._return_at:
                if self.captioner.server:  # a request may take minutes
                    self.captioner.server.close()
                self.release(self.claims.cancel_waiting())

    def recover(self) -> None:
        """Requeue jobs of lost workers, notify of waiting jobs, cancel what is overdue, delete what has expired."""
        recover_once(self.ledger, self._batches, self.uploads, self._notify, self._counters)
        delete_unreferenced_once(self._unreferenced, self.uploads, self._counters)

    def unpack(self) -> None:
        """Unpack the archives that wait."""
        self.unpacker.run(self.stopping)

    def cut(self) -> None:
        """Cut the manifests that wait."""
        self.cutter.run(self.stopping)

    def caption_chunks(self) -> None:
        """Caption the chunks of manifests that wait."""
        if not self._unavailable():
            self.chunk_worker.run(self.stopping)

    def check_server(self) -> None:
        """Ask an unavailable server of the model again, if it is time to."""
        if self.captioner.server:
            self.captioner.server.check()

    def deliver(self) -> None:
        """Deliver the webhooks that are due."""
        self.webhook_sender.deliver(self.stopping)

    def close(self) -> None:
        """Finish the batcher's queue, release the remaining claims and remove this worker from the registry."""
        self.stopping.set()
        for worker in self._leased_workers:
            worker.wait_until_stopped()
        self.batcher.close()
        self._closed.set()
        try:
            self.release(list(self.claims))
            self._workers.leave(self._identity.name)
        except RedisError as error:
            log.warning("Redis does not answer (%s); the leases of this worker expire by themselves.", error)

    def _caption(self, images: Sequence[PreparedImage]) -> Sequence[Output | Problem]:
        """Caption images with the same search options in one model call."""
        return self.captioner.caption([image.pixels for image in images], images[0].search)

    def _caption_bytes(self, data: bytes, options: CaptionOptions | None, subject: Subject) -> Output | Problem:
        """Caption a picture of a chunk, in a batch with others. Raises its problem, or `Closed`.

        While the model's server is unavailable the picture waits, because the chunk's other captions would be lost.
        """
        with self.lock.shared():
            with self._decoding:
                pixels = self.captioner.prepare(data)
            del data
            image = PreparedImage(pixels, SearchOptions.of(self.settings, options), subject)
            if not self.captioner.server:
                return self.batcher.submit(image).result().result
        while not self.stopping.is_set():
            with self.lock.shared(), suppress(ModelUnavailable):
                return self.batcher.submit(image).result().result
            self.stopping.wait(HEARTBEAT_INTERVAL)
        raise Closed

    def _unavailable(self) -> Message | None:
        """Why the model's server cannot caption now; None if it can, or if the model is in this process."""
        return self.captioner.server.unavailable if self.captioner.server else None

    def _notify(self, waiting: int, model: str) -> None:
        """Notify the workers of `waiting` jobs of a model, unless enough notifications are pending at the broker."""
        if time.monotonic() < self._notify_after:
            return
        pending = pending_notifications(self.celery, model)
        missing = min(waiting, (MAX_RECOVERY_NOTIFICATIONS - pending) * CLAIM_SIZE)
        if missing > 0 and not notify(self.celery, missing, model):
            self._notify_after = time.monotonic() + BROKER_RETRY_DELAY
