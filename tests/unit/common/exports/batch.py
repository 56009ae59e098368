"""A batch and its jobs, for the tests of exports."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from common.exports import FORMATS, Export, Names
from common.jobs import Batch, BatchStatus, Edit, InputInfo, Job, ModelInfo, Output, RequestCounts, Status, new_id
from common.records import Failure

TIME = datetime(2026, 5, 1, 9, 30, 2, tzinfo=UTC)
MODEL = ModelInfo(name="student_epoch6", version="sha256:1f0c")


def captioned(name: str, caption: str, edited: str | None = None, score: float | None = -0.5) -> Job:
    """A job with a caption, and perhaps with an edited one."""
    return Job(
        id=new_id(),
        status=Status.SUCCEEDED,
        custom_id=name,
        model=MODEL,
        input=InputInfo(filename="upload.jpg", sha256="d0", bytes=3, format="JPEG", width=640, height=480),
        output=Output(caption=caption, score=score),
        edited=Edit(caption=edited, at=TIME) if edited else None,
        created_at=TIME,
        completed_at=TIME,
        expires_at=TIME,
    )


def failed(name: str) -> Job:
    """A job of an image that is damaged."""
    error = Failure(type="/problems/damaged-image", title="Damaged", detail="The picture is damaged.")
    return Job(id=new_id(), status=Status.FAILED, custom_id=name, error=error, created_at=TIME, expires_at=TIME)


def batch_of(count: int) -> Batch:
    """A completed batch of so many jobs."""
    return Batch(
        id=new_id(),
        status=BatchStatus.COMPLETED,
        request_counts=RequestCounts(total=count),
        created_at=TIME,
        expires_at=TIME,
    )


def export(format: str, jobs: Iterable[Job], names: Names | None = None) -> bytes:
    """The file of a batch with these jobs."""
    names = names or FORMATS[format].names or Names.REPLACE
    return b"".join(FORMATS[format].write(Export(batch_of(0), jobs, names)))


def json_lines(content: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in content.decode().splitlines()]
