"""The JSON of jobs and batches in responses: with the path prefix of the request, and in its language."""

from __future__ import annotations

from typing import Any

from flask import request

from common.jobs import Batch, Job
from web.language import current_language


def job_body(job: Job) -> dict[str, Any]:
    """The JSON of a job for this request."""
    return job.body(request.script_root, current_language())


def batch_body(batch: Batch) -> dict[str, Any]:
    """The JSON of a batch for this request."""
    return batch.body(request.script_root, current_language())
