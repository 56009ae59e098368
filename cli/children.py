"""Child processes that end when their parent dies, even by SIGKILL."""

from __future__ import annotations

import ctypes
import signal
import sys
from collections.abc import Callable

#: Linux' prctl option by which a child gets a signal when the thread that started it dies.
PR_SET_PDEATHSIG = 1


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


#: `preexec_fn` of `subprocess.Popen`: requests SIGTERM for the child at the parent's death. None where that is unknown.
DIE_WITH_PARENT: Callable[[], None] | None = _die_with_parent if sys.platform == "linux" else None
