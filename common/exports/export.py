"""What all formats are written from: a batch and its jobs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from common.jobs import Batch, Job
from common.translation import SOURCE


class Names(StrEnum):
    """How the sidecar of `photo.jpg` is named: `photo.txt` or `photo.jpg.txt`."""

    REPLACE = "replace"
    APPEND = "append"


@dataclass(frozen=True)
class Export:
    """A batch, its jobs in the order of submission, how sidecars are named, and the language of the jobs' errors.

    The jobs can be read once.
    """

    batch: Batch
    jobs: Iterable[Job]
    names: Names = Names.REPLACE
    language: str = SOURCE

    def captioned(self) -> Iterator[tuple[int, Job, str]]:
        """The jobs with a caption: position among all jobs of the batch from 1 on, job, and caption."""
        for position, job in enumerate(self.jobs, 1):
            if job.caption is not None:
                yield position, job, job.caption
