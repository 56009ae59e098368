"""Checks the data folder and the folder for temporary files when a process starts."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from pathlib import Path

from common.settings import Settings
from common.translation import Message, _

#: Age in seconds from which a temporary file counts as left behind by a killed process. No request takes so long.
STALE_AGE = 86400.0


class FolderError(Exception):
    """A folder cannot be used. The message says why and what to do."""


def write_obstacle(folder: Path) -> Message | None:
    """Return why `folder`, or the parent in which it would be created, is not writable; None if it is."""
    folder = folder.absolute()
    existing = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    if not existing.is_dir():
        return _("{folder} is not a folder", folder=str(existing))
    if os.access(existing, os.W_OK | os.X_OK):
        return None
    if os.statvfs(existing).f_flag & os.ST_RDONLY:
        return _("{folder} is on a disk that is mounted read-only", folder=str(existing))
    return _("this user may not write into {folder}", folder=str(existing))


def check_data_folder(settings: Settings) -> None:
    """Raise `FolderError` if the data folder is not writable."""
    if reason := write_obstacle(settings.data):
        raise data_folder_error(settings, reason)


def data_folder_error(settings: Settings, reason: Message | str | None) -> FolderError:
    """Return the error of a data folder that cannot be used."""
    return FolderError(
        _(
            "The data folder {folder} cannot be used: {reason}. Choose another one (--data, CAPTIOND_DATA).",
            folder=str(settings.data.absolute()),
            reason=reason or "",
        )
    )


def prepare(settings: Settings) -> None:
    """Check the folders of a web server or a worker, and set the folder for its temporary files.

    That folder is `TMPDIR`, else `DATA/tmp`, also for child processes, because a read-only root file system often has
    no other. If uploads are stored elsewhere, the data folder need not be writable, and the system's folder is used.
    Raises `FolderError`.
    """
    if not settings.uploads_url:
        check_data_folder(settings)
    configured = settings.configured_temporary_folder
    folder = configured or settings.data.absolute() / "tmp"
    if reason := write_obstacle(folder):
        if configured:
            raise FolderError(_("TMPDIR, the folder for temporary files, cannot be used: {reason}.", reason=reason))
        check_temporary_folder()
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise data_folder_error(settings, error.strerror) from error
    if not configured:
        _remove_stale_files(folder)
    tempfile.tempdir = os.environ["TMPDIR"] = str(folder)


def check_temporary_folder() -> None:
    """Raise `FolderError` if the system has no folder for temporary files, which torch needs to be imported."""
    try:
        tempfile.gettempdir()
    except FileNotFoundError as error:
        raise FolderError(
            _("There is no folder for temporary files: neither /tmp nor another one is writable. Set TMPDIR.")
        ) from error


def _remove_stale_files(folder: Path) -> None:
    for path in folder.iterdir():
        with contextlib.suppress(OSError):  # another process removed it, or it is a folder
            if time.time() - path.stat().st_mtime > STALE_AGE:
                path.unlink()
