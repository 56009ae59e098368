"""Periodic recovery: notifications, cancellations that are due, and deletion of expired and unreferenced data."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress

from common import logs
from common.ledger import CANCELED_BY_DEADLINE, Batches, Counters, Ledger, UnreferencedUploads
from common.logs import Subject
from common.problems import Problem
from common.uploads import FOLDERS, UploadStore, UploadsUnavailable

#: Seconds before the deletion of an image is retried after a failure.
DELETE_RETRY_DELAY = 3600.0

log = logging.getLogger(__name__)


def recover_once(
    ledger: Ledger, batches: Batches, uploads: UploadStore, notify: Callable[[int, str], None], counters: Counters
) -> None:
    """Run one recovery: notify the workers of waiting jobs, cancel overdue batches, delete what has expired.

    `notify` gets the number of waiting jobs that ask for a model, and its name, '' for none.
    """
    recovered = ledger.recover()
    for model, jobs in recovered.waiting.items():
        notify(jobs, model)
    for job_id in recovered.expired:
        with logs.about(Subject(job_id)):
            try:
                uploads.delete(job_id)  # first, so that a crash leaves no image without a record
            except UploadsUnavailable:
                log.error("The image of job %s cannot be deleted; retrying in an hour.", job_id)
                ledger.postpone_expiry(job_id, DELETE_RETRY_DELAY)
            else:
                ledger.delete(job_id)
                counters.count("recovery:expired")
    for batch_id in recovered.overdue_batches:
        with suppress(Problem):  # another request deleted it
            batches.cancel(batch_id, CANCELED_BY_DEADLINE)
            counters.count("recovery:batch-canceled")
    for batch_id in recovered.expired_batches:
        with suppress(UploadsUnavailable), logs.about(Subject(batch_id=batch_id)):  # it stays due
            uploads.delete(batch_id)  # its archive, if it was not unpacked
            batches.remove(batch_id)
            counters.count("recovery:batch-expired")


def delete_unreferenced_once(unreferenced: UnreferencedUploads, uploads: UploadStore, counters: Counters) -> None:
    """Scan one folder, if a scan is due, and delete its expired uploads without a job record."""
    folder = unreferenced.next_folder(FOLDERS)
    if folder is None:
        return
    files = uploads.list_files(folder)
    without_record = set(unreferenced.select({job_id for job_id, _ in files}))
    for job_id, path in files:
        if job_id in without_record:
            with logs.about(Subject(job_id)):
                log.info("Deleting %s: it has expired and has no job record.", path)
            uploads.delete_file(path)
            counters.count("recovery:upload-deleted")
