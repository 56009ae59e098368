"""Parts of a supervisor that was killed: they stop by themselves, and until then nothing else may use their folder."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path

#: Seconds the parts may take: the worker finishes what it holds.
PATIENCE = 60.0
#: Seconds between two looks.
LOOK = 0.1


def hold(path: Path, say: Callable[[str], None], patience: float = PATIENCE) -> int | None:
    """Lock `path` for this process and the children that inherit the returned descriptor; None when it stays locked.

    The kernel keeps the lock for as long as one of them lives, so two private Redis never append to one file.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline, told = time.monotonic() + patience, False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(descriptor)
                return None
        if not told:
            say("waiting until the parts of an earlier captiond that was killed have stopped")
            told = True
        time.sleep(LOOK)
