"""Captions that people write in place of the model's. The model's stay in the jobs' `output` and in the cache."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from common import problems
from common.jobs import Job
from common.ledger import records
from common.ledger.queries import Queries
from common.problems import Problem
from common.translation import Message


class Edits(Queries):
    """Sets and removes edited captions."""

    def edit(self, captions: Mapping[str, str | None]) -> list[Job]:
        """Set the edited captions of jobs by id, or remove those that are None; returns the jobs, without progress.

        Changes all jobs or none. Raises `job-not-found`, `job-gone` or `not-captioned` for the first job that cannot be
        changed.
        """
        visible = {job.id for job in self.read(captions)}
        for job_id in captions:
            if job_id not in visible:
                raise self._no_job(job_id)
        arguments = [
            part
            for job_id, caption in captions.items()
            for part in (job_id, "" if caption is None else records.field(caption))
        ]
        refused = cast("str | None", self._scripts.edit(args=[self._script_time(), *arguments]))
        if refused is None:
            return self.read(captions)
        if not self.read([refused]):  # deleted meanwhile
            raise self._no_job(refused)
        raise problems.NOT_CAPTIONED(
            "The job {job} has not succeeded, so it has no caption to change. Nothing was changed.", job=refused
        )

    def _no_job(self, job_id: str) -> Problem:
        problem = self._missing_job(job_id)
        return problem.kind(Message("{job}: {reason}", None, {"job": job_id, "reason": problem.message}))
