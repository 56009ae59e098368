"""`celery -A tests.chaos.hooks.slow_model worker`: each model call takes `CALL_SECONDS`."""

from __future__ import annotations

import time
from collections.abc import Sequence

from captioning.student.captioner import Pixels, StudentCaptioner
from common.jobs import Output
from common.options import SearchOptions
from common.problems import Problem
from worker.celery import app as app

#: Long enough that the calls for all jobs that a worker holds take more than Celery's soft shutdown timeout.
CALL_SECONDS = 12.0

caption = StudentCaptioner.caption


def _caption(
    self: StudentCaptioner, images: Sequence[Pixels], search: SearchOptions | None = None
) -> list[Output | Problem]:
    time.sleep(CALL_SECONDS)
    return caption(self, images, search)


StudentCaptioner.caption = _caption  # type: ignore[method-assign]
