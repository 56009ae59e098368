"""`celery -A benchmarks.waiting_worker worker`: the real worker with a captioner that only waits.

The environment variables BENCHMARK_CALL_SECONDS and BENCHMARK_IMAGE_SECONDS are the duration of a model call: fixed,
and for each image.
"""

from __future__ import annotations

import os

import worker.runtime
from benchmarks.simulation import EmptyUploads, SimulatedCaptioner
from captioning import captioner
from common.settings import Settings


def _simulated(settings: Settings) -> SimulatedCaptioner:
    return SimulatedCaptioner(float(os.environ["BENCHMARK_CALL_SECONDS"]), float(os.environ["BENCHMARK_IMAGE_SECONDS"]))


captioner.load_captioner = _simulated
worker.runtime.UploadStore = EmptyUploads  # type: ignore[attr-defined]

from worker.celery import app as app  # noqa: E402 - the replacements come first
