"""Unpacks the archives of batches in a thread of its own, so that their images are captioned meanwhile."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

from celery import Celery

from common import ingest, problems
from common.jobs import ModelInfo, Status, new_id
from common.ledger import ArchiveClaim, Components, Ledger, NewJob, Principal
from common.problems import Problem
from common.queue import CLAIM_SIZE, notify
from common.settings import Settings
from common.translation import ngettext
from common.uploads import UploadStore, UploadsUnavailable
from worker.archives.reader import ArchiveReader, Entry

#: Seconds between two attempts to create jobs while too many are open.
ADMISSION_INTERVAL = 0.5
#: Seconds after which an archive is claimed again when the upload store was unavailable or full.
RETRY_DELAY = 5.0

log = logging.getLogger(__name__)


class Unpacker:
    """Creates a job for each file of an archive. One thread calls `run`, another one `extend`.

    A killed worker's archive is claimed by another one when its lease ends, and no image gets a second job, because the
    name of its entry is an idempotency key of the batch.
    """

    def __init__(
        self, settings: Settings, components: Components, uploads: UploadStore, celery: Celery, model: ModelInfo
    ) -> None:
        self._settings = settings
        self._archives = components.archives
        self._ledger = components.ledger
        self._uploads = uploads
        self._celery = celery
        self._model = model
        self._running = threading.Lock()
        self._unpacking: _Unpacking | None = None

    def run(self, stopping: threading.Event) -> None:
        """Unpack the archives that wait, until none is left or `stopping` is set."""
        with self._running:
            while not stopping.is_set() and (claim := self._archives.claim()):
                with self._held(claim, stopping) as unpacking:
                    self._run(unpacking)

    def extend(self) -> None:
        """Extend the lease of the claim in progress, if any; unpacking stops if it is lost."""
        unpacking = self._unpacking
        if unpacking and not self._archives.extend(unpacking.claim, attempts=0 if unpacking.recorded else None):
            unpacking.lost = True

    def wait_until_stopped(self) -> None:
        """Wait until `run` has returned after `stopping` was set, at most for one image."""
        with self._running:
            pass

    @contextmanager
    def _held(self, claim: ArchiveClaim, stopping: threading.Event) -> Iterator[_Unpacking]:
        self._unpacking = _Unpacking(claim, self._ledger.for_principal(Principal(claim.owner)), stopping)
        try:
            yield self._unpacking
        finally:
            self._unpacking = None

    def _run(self, unpacking: _Unpacking) -> None:
        claim = unpacking.claim
        try:
            self._unpack(unpacking)
        except _Stopped:
            if not unpacking.lost:
                self._archives.release(claim)
        except Problem as problem:
            if isinstance(problem, UploadsUnavailable) or problem.kind is problems.STORAGE_FULL:
                self._archives.release(claim, RETRY_DELAY)
            else:
                log.info("The archive of batch %s is not unpacked to its end: %s", claim.id, problem.detail)
                self._finish(claim, problem)
        else:
            self._finish(claim, None)

    def _finish(self, claim: ArchiveClaim, problem: Problem | None) -> None:
        if self._archives.finish(claim, problem):
            with suppress(UploadsUnavailable):  # the file is deleted with the batch
                self._uploads.delete(claim.id)

    def _unpack(self, unpacking: _Unpacking) -> None:
        """Create the jobs. Raises a `Problem` of the archive as a whole, or `_Stopped`."""
        claim, ledger = unpacking.claim, unpacking.ledger
        if claim.attempts > self._settings.max_attempts:
            raise problems.WORKER_LOST(
                ngettext(
                    "A worker stopped responding while unpacking the archive. Send its pictures in another one.",
                    "Workers stopped responding {count} times while unpacking the archive. Send its pictures in "
                    "another one.",
                    self._settings.max_attempts,
                )
            )
        with self._uploads.open(claim.id) as file:
            if file.size() != claim.bytes:
                raise UploadsUnavailable
            reader = ArchiveReader(file, self._settings)
            entries = reader.entries
            if claim.resumed:
                recorded = ledger.recorded_items(claim.id, [entry.key for entry in entries])
                entries = [entry for entry in entries if entry.key not in recorded]
            queued = 0
            for number, entry in enumerate(entries):
                if number % CLAIM_SIZE == 0:
                    notify(self._celery, queued)  # the first images are captioned while the others are unpacked
                    queued = 0
                    self._wait_until_admitted(unpacking)
                unpacking.raise_if_stopped()
                queued += self._create_job(unpacking, reader, entry)
                unpacking.recorded += 1
            notify(self._celery, queued)

    def _create_job(self, unpacking: _Unpacking, reader: ArchiveReader, entry: Entry) -> bool:
        """Create the job of an entry, a failed one if it is refused. Returns whether the job is queued."""
        claim, ledger = unpacking.claim, unpacking.ledger
        new_job = NewJob(
            batch=claim.id,
            custom_id=entry.custom_id,
            idempotency_key=entry.key,
            webhook=claim.webhook,
            options=claim.options,
            prefix=claim.prefix,
        )
        try:
            try:
                data = reader.read(entry)
                image = ingest.check_image(entry.custom_id, data, ingest.digest(data), self._settings.max_pixels)
            except UploadsUnavailable:
                raise
            except Problem as problem:
                ledger.create(new_id(), replace(new_job, error=problem))
                return False
            job, _ = ingest.create_job(ledger, self._uploads, image, data, self._model, new_job)
            return job.status is Status.QUEUED
        except Problem as problem:
            if problem.kind is problems.CUSTOM_ID_CONFLICT:  # another worker recorded it, with another outcome
                return False
            raise

    def _wait_until_admitted(self, unpacking: _Unpacking) -> None:
        """Wait until fewer jobs are open than allowed. Raises `_Stopped`."""
        while True:
            unpacking.raise_if_stopped()
            try:
                unpacking.ledger.admit()
                return
            except Problem:
                unpacking.stopping.wait(ADMISSION_INTERVAL)


class _Stopped(Exception):
    """The worker shuts down, or the claim is lost."""


class _Unpacking:
    """An archive that is being unpacked. `recorded` is the number of jobs of this claim."""

    def __init__(self, claim: ArchiveClaim, ledger: Ledger, stopping: threading.Event) -> None:
        self.claim = claim
        self.ledger = ledger
        self.stopping = stopping
        self.lost = False
        self.recorded = 0

    def raise_if_stopped(self) -> None:
        if self.lost or self.stopping.is_set():
            raise _Stopped
