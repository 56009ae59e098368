"""`celery -A tests.chaos.hooks.poisoned worker`: a black image kills the process, as a crash in native code would.

POISON names the step: decoding (`prepare`) or the model call (`caption`).
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

from captioning.student.captioner import Pixels, StudentCaptioner
from common.jobs import Output
from common.options import SearchOptions
from common.problems import Problem
from worker.celery import app as app

prepare, caption = StudentCaptioner.prepare, StudentCaptioner.caption


def _crash_on_black_image(step: str, images: Sequence[Pixels]) -> None:
    if os.environ["POISON"] == step and any(pixels.max() < 0 for pixels in images):
        os.kill(os.getpid(), signal.SIGKILL)


def _prepare(self: StudentCaptioner, data: bytes) -> Pixels:
    pixels = prepare(self, data)
    _crash_on_black_image("prepare", [pixels])
    return pixels


def _caption(
    self: StudentCaptioner, images: Sequence[Pixels], search: SearchOptions | None = None
) -> list[Output | Problem]:
    _crash_on_black_image("caption", images)
    return caption(self, images, search)


StudentCaptioner.prepare = _prepare  # type: ignore[method-assign]
StudentCaptioner.caption = _caption  # type: ignore[method-assign]
