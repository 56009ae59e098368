"""Writes a file whole or not at all, whichever process dies meanwhile, and whenever the power goes."""

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

#: What the operating system says when there is no room: disk full, or quota used up.
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
#: What ends a name until its file is whole. A process that dies leaves such a file; the next write takes it over.
SAVING = ".saving"
#: Permissions, before the umask, of what others may read, and of what only its owner may.
SHARED, PRIVATE = 0o666, 0o600

log = logging.getLogger(__name__)


@contextmanager
def whole(path: Path, mode: int = SHARED) -> Iterator[BinaryIO]:
    """A file to write to; it gets its name, in place of an earlier one, when all of it is on the disk.

    When the body raises, or the disk is full, nothing of it is left. One process at a time may write a file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + SAVING)
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
        os.fsync(folder)  # the name as well: who is told that the file is kept may remove what it was made from
    finally:
        os.close(folder)


def not_kept(error: OSError) -> Problem:
    """The problem of a picture or request that could not be written to the disk; the log has the reason."""
    if error.errno in NO_ROOM:
        log.error("The disk is full, so what was sent is refused: %s", error)
        return problems.STORAGE_FULL("The server's disk is full. Nothing was kept; send it again when there is room.")
    log.error("What was sent cannot be written, and is refused: %s", error)
    return problems.INTERNAL("The server cannot write what was sent. Nothing was kept; its log says why.")
