"""Turns a job into the fields of its Redis hash and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from common import strict_json
from common.jobs import Job

#: What redis-py takes as a hash's mapping.
_Encodable = bytes | bytearray | memoryview | str | int | float
Fields = dict[_Encodable, _Encodable]


def to_fields(job: Job) -> Fields:
    """Every member that is set, as JSON. `progress` is left out: it is worked out anew at each look."""
    members = job.model_dump(mode="json", exclude={"progress"}, exclude_none=True)
    return {name: strict_json.dumps(value) for name, value in members.items()}


def from_fields(fields: Mapping[str, str]) -> Job | None:
    """The job of a hash, or None when the hash does not exist."""
    members: dict[str, Any] = {name: strict_json.loads(value) for name, value in fields.items() if name[0] != "_"}
    return Job.model_validate(members) if members else None
