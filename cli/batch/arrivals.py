"""Finds images that arrive in folders, and says when each is whole: copying one can take minutes."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from errno import EAGAIN
from itertools import islice
from pathlib import Path

from cli.batch import BatchError
from cli.batch.sources import Source, find, is_hidden, is_image
from common.translation import Message, _

#: Seconds in which a file must not change before it counts as whole.
QUIET_TIME = 2.0


@dataclass(frozen=True)
class _Version:
    """What tells two states of a file apart, from its directory entry."""

    size: int
    modified: int
    changed: int


@dataclass
class _Pending:
    """A file that is not yet whole: its last known state, and since when it has been so."""

    version: _Version
    since: float


class Arrivals:
    """Images in folders that are new or changed. Hidden files and folders are left out.

    `clock` gives seconds. Raises `BatchError` for a folder that is not there.
    """

    def __init__(self, folders: Iterable[str], *, recursive: bool, clock: Callable[[], float] = time.monotonic) -> None:
        folders = list(folders)
        for folder in folders:
            if not os.path.isdir(folder):
                raise BatchError(_("There is no folder {folder} on this machine.", folder=folder))
        #: Folders as they were named, by the paths to watch, which file system events have.
        self.folders = {os.path.realpath(folder): Path(folder) for folder in folders}
        self._recursive = recursive
        self._clock = clock
        self._pending: dict[str, _Pending] = {}
        self._taken: dict[str, _Version] = {}
        #: Time of modification of each image that has a caption.
        self._written: dict[str, int] = {}

    def scan(self) -> list[Message]:
        """Look at all folders. Returns a sentence for each that cannot be listed."""
        errors = []
        for folder in self.folders.values():
            try:
                self._look_into(folder)
            except BatchError as error:
                errors.append(error.args[0])
        return errors

    def look_at(self, path: str) -> None:
        """Look at a file or folder, by the path that a file system event gives."""
        for watched, folder in self.folders.items():
            if not path.startswith(os.path.join(watched, "")):
                continue
            relative = Path(path).relative_to(watched)
            if len(relative.parts) > 1 and not self._recursive:
                continue
            if any(is_hidden(part) for part in relative.parts):
                continue
            location = folder / relative
            if location.is_dir():
                # Files can be in a new folder before it is watched.
                if self._recursive:
                    self._look_into(location)
            elif is_image(location.name):
                self._note(str(location))

    def whole(self, count: int) -> list[Source]:
        """Take up to `count` images that have arrived and are whole."""
        return [Source(path) for path in islice(filter(self._is_whole, list(self._pending)), count)]

    def pending(self) -> set[str]:
        """The paths of images that have arrived and were not yet taken."""
        return set(self._pending)

    def known(self) -> Iterator[Source]:
        """All images that have arrived and are still there, also those that were taken."""
        return map(Source, self._pending.keys() | self._taken.keys())

    def written(self, image: str) -> None:
        """Note that an image which was taken has a caption. It is taken again only when it is modified.

        One without a caption is also taken again when its permissions or its owner change.
        """
        self._written[image] = self._taken[image].modified

    def _look_into(self, folder: Path) -> None:
        for source in find([str(folder)], recursive=self._recursive):
            self._note(source.location)

    def _note(self, path: str) -> None:
        version = _version(path)
        if version is None:
            self._forget(path)
        elif version != self._taken.get(path) and version.modified != self._written.get(path):
            self._pending.setdefault(path, _Pending(version, self._clock()))

    def _forget(self, path: str) -> None:
        for known in (self._pending, self._taken, self._written):
            known.pop(path, None)

    def _is_whole(self, path: str) -> bool:
        """Whether a pending file is whole, which is then taken. One that is no longer there is forgotten."""
        pending, version, now = self._pending[path], _version(path), self._clock()
        if version is None:
            self._forget(path)
        elif version != pending.version:
            self._pending[path] = _Pending(version, now)
        elif now - pending.since >= QUIET_TIME and not _is_being_written(path):
            del self._pending[path]
            self._taken[path] = version
            return True
        return False


def _version(path: str) -> _Version | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return _Version(status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _is_being_written(path: str) -> bool:
    """Whether a process of this machine has the file open for writing, where the system tells.

    Linux gives a lease for reading only on files that nobody can write to. The lease is returned at once.
    """
    if not hasattr(fcntl, "F_SETLEASE"):
        return False
    try:
        with open(path, "rb") as file:
            if os.major(os.fstat(file.fileno()).st_dev) == 0:
                return False  # file systems without a device, such as network shares, refuse leases for other reasons
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:  # another number: not readable, another user's, or a file system without leases
        return error.errno == EAGAIN
    return False
