"""Unpacks the archives of batches in a thread of its own, so that their images are captioned meanwhile."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from celery import Celery

from common import ingest, problems, tracing
from common.jobs import ModelInfo, Status, new_id
from common.ledger import ArchiveClaim, Components, Ledger, NewJob, Principal
from common.options import model_of
from common.problems import Problem
from common.queue import CLAIM_SIZE, notify
from common.settings import Settings
from common.translation import Message, ngettext
from common.uploads import UploadStore, UploadsUnavailable
from worker.archives.reader import ArchiveReader, Entry
from worker.leased import LeasedWorker, Work

#: Seconds between two attempts to create jobs while too many are open.
ADMISSION_INTERVAL = 0.5

log = logging.getLogger(__name__)


class Unpacker(LeasedWorker[ArchiveClaim]):
    """Creates a job for each file of an archive.

    No image gets a second job when another worker continues, because the name of its entry is an idempotency key of the
    batch.
    """

    def __init__(self, settings: Settings, components: Components, uploads: UploadStore, celery: Celery) -> None:
        super().__init__(settings, components.archives)
        self._archives = components.archives
        self._ledger = components.ledger
        self._uploads = uploads
        self._celery = celery
        self._workers = components.workers

    def _fail(self, claim: ArchiveClaim, problem: Problem) -> None:
        log.info("The archive of batch %s is not unpacked to its end: %s", claim.id, problem.detail)
        self._finish(claim, problem)

    def _finish(self, claim: ArchiveClaim, problem: Problem | None) -> None:
        if self._archives.finish(claim, problem):
            with suppress(UploadsUnavailable):  # the file is deleted with the batch
                self._uploads.delete(claim.id)

    def _lost_sentence(self, attempts: int) -> Message:
        return ngettext(
            "A worker stopped responding while unpacking the archive. Send its pictures in another one.",
            "Workers stopped responding {count} times while unpacking the archive. Send its pictures in another one.",
            attempts,
        )

    def _carry_out(self, work: Work[ArchiveClaim]) -> None:
        """Create the jobs."""
        claim, ledger = work.claim, self._ledger.for_principal(Principal(work.claim.owner))
        model = model_of(claim.options)
        models = self._workers.captioning(model)
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
                    notify(self._celery, queued, model)  # the first images are captioned while the others are unpacked
                    queued = 0
                    self._wait_until_admitted(work, ledger)
                work.raise_if_stopped()
                queued += self._create_job(claim, ledger, reader, entry, models)
                self._note_progress(work)
            notify(self._celery, queued, model)
        self._finish(claim, None)

    def _create_job(
        self, claim: ArchiveClaim, ledger: Ledger, reader: ArchiveReader, entry: Entry, models: Sequence[ModelInfo]
    ) -> bool:
        """Create the job of an entry, a failed one if it is refused. Returns whether the job is queued.

        It is not if one of `models` has captioned the picture before.
        """
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
                with tracing.span("submit", claim.subject) as traceparent:
                    data = reader.read(entry)
                    image = ingest.check_image(entry.custom_id, data, ingest.digest(data), self._settings.max_pixels)
                    new_job = replace(new_job, traceparent=traceparent)
            except UploadsUnavailable:
                raise
            except Problem as problem:
                ledger.create(new_id(), replace(new_job, error=problem))
                return False
            job, _ = ingest.create_job(ledger, self._uploads, image, data, models, new_job)
            return job.status is Status.QUEUED
        except Problem as problem:
            if problem.kind is problems.CUSTOM_ID_CONFLICT:  # another worker recorded it, with another outcome
                return False
            raise

    def _wait_until_admitted(self, work: Work[ArchiveClaim], ledger: Ledger) -> None:
        """Wait until fewer jobs are open than allowed. Raises `Stopped`."""
        while True:
            work.raise_if_stopped()
            try:
                ledger.admit()
                return
            except Problem:
                work.stopping.wait(ADMISSION_INTERVAL)
