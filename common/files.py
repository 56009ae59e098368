"""Durable file writes: replacing a file atomically, and appending to one."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO

from common import problems
from common.problems import Problem

#: Error numbers of a full disk and an exceeded disk quota.
DISK_FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT})
#: Suffix of the temporary file. A process that is killed leaves it behind, and the next write overwrites it.
TEMPORARY_SUFFIX = ".saving"
#: File modes, before the umask: readable by all, and by the owner only.
DEFAULT_MODE, PRIVATE_MODE = 0o666, 0o600

log = logging.getLogger(__name__)


@contextmanager
def atomic_write(path: Path, mode: int = DEFAULT_MODE, suffix: str = TEMPORARY_SUFFIX) -> Iterator[BinaryIO]:
    """Context manager: a binary file that replaces `path` when the block ends and its content is on the disk.

    If the block raises or the disk is full, `path` stays unchanged and the temporary file is removed. Only one process
    at a time may write a file, unless each gives the temporary file a `suffix` of its own.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + suffix)
    try:
        with open(temporary, "wb", opener=partial(os.open, mode=mode)) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # makes the rename durable, too
    finally:
        os.close(folder)


def append(path: Path, data: bytes) -> None:
    """Append to a file, which is created if it does not exist, and sync it to the disk."""
    with path.open("ab") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def complete_lines(path: Path) -> bytes:
    """The content of a file of lines; a last line that was cut off is removed from the file, too."""
    content = path.read_bytes()
    complete = content[: content.rfind(b"\n") + 1]
    if len(complete) < len(content):
        os.truncate(path, len(complete))
    return complete


def write_problem(error: OSError) -> Problem:
    """Log an error of writing an upload or a request, and return the problem for the client."""
    if error.errno in DISK_FULL_ERRNOS:
        log.error("The disk is full; a request was refused: %s", error)
        return problems.STORAGE_FULL("The server's disk is full. Nothing was stored. Send it again later.")
    log.error("The data of a request cannot be written; the request was refused: %s", error)
    return problems.INTERNAL("The server cannot write the request's data. Nothing was stored. Its log has the reason.")
