"""A lock on the data folder, which child processes inherit and hold until the last of them has ended.

After a supervisor is killed, its children stop by themselves. Until then no other service may use their folder.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path

from cli.output import local
from common.translation import _

#: Seconds to wait for the children of a killed supervisor: the worker first finishes its jobs.
LOCK_TIMEOUT = 60.0
#: Seconds between two attempts to take the lock.
POLL_INTERVAL = 0.1


def acquire(path: Path, emit: Callable[[str], None], timeout: float = LOCK_TIMEOUT) -> int | None:
    """Lock `path` and return the lock's file descriptor; None when it is still locked after `timeout` seconds.

    The kernel keeps the lock while any process has the descriptor open, this one or a child that inherited it. So two
    private Redis servers never append to one file. `emit` prints a line when there is something to wait for.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline, emitted = time.monotonic() + timeout, False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(descriptor)
                return None
        if not emitted:
            emit(local(_("waiting until the processes of an earlier captiond that was killed have stopped")))
            emitted = True
        time.sleep(POLL_INTERVAL)
