"""Converts a job to the fields of its Redis hash and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from common import strict_json
from common.jobs import Job
from common.options import CaptionOptions

#: Type of a hash mapping in redis-py.
Fields = dict[bytes | bytearray | memoryview | str | int | float, bytes | bytearray | memoryview | str | int | float]


def to_fields(job: Job) -> dict[str, str]:
    """All fields that are set, as JSON, except `progress` and the times.

    `progress` is computed on every read; the scripts write the times, as Unix times by the clock of Redis.
    """
    times = {"created_at", "started_at", "completed_at", "expires_at"}
    members = job.model_dump(mode="json", exclude={"progress", *times}, exclude_none=True)
    return {name: strict_json.dumps(value) for name, value in members.items()}


def field(value: BaseModel | str) -> str:
    """One field as JSON."""
    plain = value.model_dump(mode="json", exclude_none=True) if isinstance(value, BaseModel) else value
    return strict_json.dumps(plain)


def from_fields(fields: Mapping[str, str]) -> Job | None:
    """The job of a hash, or None when the hash is empty."""
    members: dict[str, Any] = {name: strict_json.loads(value) for name, value in fields.items() if name[0] != "_"}
    return Job.model_validate(members) if members else None


def options_of(fields: Mapping[str, str]) -> CaptionOptions | None:
    """The caption options in the hash of a batch, or None."""
    return CaptionOptions.model_validate_json(fields["options"]) if "options" in fields else None
