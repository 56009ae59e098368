"""Does what the ledger's recovery found to be done."""

from __future__ import annotations

import logging
from collections.abc import Callable

from common.ledger import Ledger, UnreferencedUploads
from common.uploads import FOLDERS, UploadStore, UploadsUnavailable

#: Seconds until a picture that could not be deleted is tried again; the others must not wait for it.
TRY_AGAIN = 3600.0

log = logging.getLogger(__name__)


def recover_once(ledger: Ledger, uploads: UploadStore, notify: Callable[[int], None]) -> None:
    """One recovery: notify of the jobs that wait, delete records and pictures whose time is over."""
    recovered = ledger.recover()
    if recovered.waiting:
        notify(recovered.waiting)
    for job_id in recovered.expired:
        try:
            uploads.delete(job_id)  # first, so that a crash never leaves a picture that no record knows of
        except UploadsUnavailable:
            log.error("The picture of job %s cannot be deleted; trying again in an hour.", job_id)
            ledger.postpone_expiry(job_id, TRY_AGAIN)
        else:
            ledger.delete(job_id)


def tidy_once(unreferenced: UnreferencedUploads, uploads: UploadStore) -> None:
    """Look into one folder, if it is time to: delete the pictures that no record knows and whose time is over."""
    folder = unreferenced.next_folder(FOLDERS)
    if folder is None:
        return
    files = uploads.list_files(folder)
    unknown = set(unreferenced.among({job_id for job_id, _ in files}))
    for job_id, path in files:
        if job_id in unknown:
            log.info("No record knows of %s, and its time is over; deleting it.", path)
            uploads.delete_file(path)
