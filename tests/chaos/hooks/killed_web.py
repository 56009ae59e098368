"""`python -m tests.chaos.hooks.killed_web`: the web server, killed between a job's record and its notification."""

from __future__ import annotations

import os
import runpy
import signal

from web import submission


def _die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    submission.notify = _die  # type: ignore[attr-defined, assignment]
    runpy.run_module("web", run_name="__main__")
