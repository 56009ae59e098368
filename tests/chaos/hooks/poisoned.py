"""`celery -A tests.chaos.hooks.poisoned worker`: a black picture ends the process, as a fault in native code would.

POISON says where: while it is decoded (`prepare`) or in the model's call (`caption`).
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

from captioning.captioner import Pixels, StudentCaptioner
from common.jobs import Output
from common.problems import Problem
from worker.celery import app as app

prepare, caption = StudentCaptioner.prepare, StudentCaptioner.caption


def _survive(place: str, pictures: Sequence[Pixels]) -> None:
    if os.environ["POISON"] == place and any(pixels.max() < 0 for pixels in pictures):
        os.kill(os.getpid(), signal.SIGKILL)


def _prepare(self: StudentCaptioner, data: bytes) -> Pixels:
    pixels = prepare(self, data)
    _survive("prepare", [pixels])
    return pixels


def _caption(self: StudentCaptioner, images: Sequence[Pixels]) -> list[Output | Problem]:
    _survive("caption", images)
    return caption(self, images)


StudentCaptioner.prepare = _prepare  # type: ignore[method-assign]
StudentCaptioner.caption = _caption  # type: ignore[method-assign]
