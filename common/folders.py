"""Checks the data folder and the folder of temporary files when a process begins."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from pathlib import Path

from common.settings import Settings

#: Seconds after which a temporary file was left behind by a process that was killed: no request takes so long.
LEFT_BEHIND = 86400.0


class FolderError(Exception):
    """A folder that cannot be used; the message says why and what to do."""


def obstacle(folder: Path) -> str | None:
    """Why nothing can be written into `folder`, or into the one in which it would be made; None when it can."""
    folder = folder.absolute()
    nearest = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    if not nearest.is_dir():
        return f"{nearest} is not a folder"
    if os.access(nearest, os.W_OK | os.X_OK):
        return None
    if os.statvfs(nearest).f_flag & os.ST_RDONLY:
        return f"{nearest} is on a disk that is mounted read-only"
    return f"this user may not write into {nearest}"


def check_data(settings: Settings) -> None:
    """Raises `FolderError` when nothing can be written into the data folder."""
    if why := obstacle(settings.data):
        raise data_error(settings, why)


def data_error(settings: Settings, why: str | None) -> FolderError:
    """What to tell when the data folder cannot be used."""
    return FolderError(
        f"The data folder {settings.data.absolute()} cannot be used: {why}. Choose another one (--data, CAPTIOND_DATA)."
    )


def prepare(settings: Settings) -> None:
    """Check the folders of this process, a web server or a worker, and have it use its own for temporary files.

    That is `TMPDIR`, else `DATA/tmp`, also for the processes it starts: on a read-only root file system, there often
    is no other. Where pictures are kept elsewhere, the data folder need not be writable, and the system's folder will
    do. Raises `FolderError`.
    """
    if not settings.uploads_url:
        check_data(settings)
    told = settings.told_temporary_folder
    folder = told or settings.data.absolute() / "tmp"
    if why := obstacle(folder):
        if told:
            raise FolderError(f"TMPDIR, the folder of temporary files, cannot be used: {why}.")
        check_temporary()
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise data_error(settings, error.strerror) from error
    if not told:
        _remove_leftovers(folder)
    tempfile.tempdir = os.environ["TMPDIR"] = str(folder)


def check_temporary() -> None:
    """Raises `FolderError` when the system has no folder for temporary files, without which torch is not imported."""
    try:
        tempfile.gettempdir()
    except FileNotFoundError as error:
        raise FolderError(
            "There is no folder for temporary files: neither /tmp nor another one can be written. Set TMPDIR to one."
        ) from error


def _remove_leftovers(folder: Path) -> None:
    for path in folder.iterdir():
        with contextlib.suppress(OSError):  # another process removed it, or it is a folder
            if time.time() - path.stat().st_mtime > LEFT_BEHIND:
                path.unlink()
