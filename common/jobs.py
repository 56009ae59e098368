"""Jobs and batches: the pydantic models that are also the API's JSON."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

import uuid_utils
from pydantic import BaseModel, ConfigDict, PlainSerializer, WithJsonSchema

from common.problems import Problem


def rfc3339(moment: datetime) -> str:
    """The moment in UTC with milliseconds, as all of the API's JSON has it."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


_DATE_TIME = {"type": "string", "format": "date-time"}

#: A moment, in JSON as RFC 3339 in UTC with milliseconds.
Moment = Annotated[datetime, PlainSerializer(rfc3339, when_used="json"), WithJsonSchema(_DATE_TIME)]


def moment(seconds: float) -> datetime:
    """The UTC moment that is `seconds` after the Unix epoch."""
    return datetime.fromtimestamp(seconds, UTC)


def new_id() -> str:
    """A UUIDv7: ids sort by the time they were made (RFC 9562 §5.7)."""
    return str(uuid_utils.uuid7())


def made_at(any_id: str) -> float:
    """The Unix time at which `new_id` made this id."""
    return int(any_id.replace("-", "")[:12], 16) / 1000


def is_id(text: str) -> bool:
    """Whether `text` is written as `new_id` writes an id."""
    try:
        parsed = UUID(text)
    except ValueError:
        return False
    return parsed.version == 7 and str(parsed) == text


class Status(StrEnum):
    """Where a job is in its life: `queued -> processing -> succeeded | failed | canceled`."""

    QUEUED = "queued"
    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"

    @property
    def terminal(self) -> bool:
        """Whether nothing can change any more."""
        return self not in OPEN


#: The states in which a caption is still to come.
OPEN = frozenset({Status.QUEUED, Status.PROCESSING})


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)


class ModelInfo(_Record):
    """Which model captions: `version` names its exact weights, `demo` the small bundled one."""

    name: str
    version: str
    demo: bool = False


class InputInfo(_Record):
    """What was uploaded; `width` and `height` in pixels, as seen upright."""

    filename: str
    sha256: str
    bytes: int
    format: str
    width: int
    height: int


class Alternative(_Record):
    """A caption the search ranked; `score` is its length-normalised log-probability."""

    caption: str
    score: float | None = None


class Output(_Record):
    """The best caption, and those that came after it."""

    caption: str
    score: float | None = None
    alternatives: tuple[Alternative, ...] = ()


class Failure(_Record):
    """Why a job failed: a problem's stable type, its title and its sentence."""

    type: str
    title: str
    detail: str

    @classmethod
    def of(cls, problem: Problem) -> Failure:
        return cls(type=problem.kind.type, title=problem.kind.title, detail=problem.detail)


class Progress(_Record):
    """How many pictures are before this one, and about how long it will take; None when not known."""

    position: int
    eta_seconds: float | None = None


class Timings(_Record):
    """Seconds waited and computed, and how many pictures shared the model call."""

    queue_seconds: float
    model_seconds: float
    batch_size: int


class Job(_Record):
    """One picture on its way to a caption."""

    id: str
    status: Status
    batch: str | None = None
    custom_id: str | None = None
    model: ModelInfo | None = None
    input: InputInfo | None = None
    output: Output | None = None
    error: Failure | None = None
    progress: Progress | None = None
    cached: bool = False
    attempts: int = 0
    created_at: Moment
    started_at: Moment | None = None
    completed_at: Moment | None = None
    expires_at: Moment
    timings: Timings | None = None

    def body(self, prefix: str = "") -> dict[str, Any]:
        """The API's JSON. `urls` are paths, below the `prefix` of the service's own path at its proxy."""
        path = f"{prefix}/v1/jobs/{self.id}"
        urls = {"self": path, "cancel": f"{path}/cancel", "image": f"{path}/image" if self.input else None}
        return {**self.model_dump(mode="json"), "urls": urls}


class RequestCounts(_Record):
    """How many of a batch's pictures are in each state."""

    total: int
    queued: int = 0
    processing: int = 0
    succeeded: int = 0
    failed: int = 0
    canceled: int = 0


class Batch(_Record):
    """Pictures that were sent together; `in_progress` until none is open any more."""

    id: str
    request_counts: RequestCounts
    created_at: Moment
    expires_at: Moment

    def body(self, prefix: str = "") -> dict[str, Any]:
        """The API's JSON; `prefix` as in a job's."""
        path = f"{prefix}/v1/batches/{self.id}"
        counts = self.request_counts
        status = "in_progress" if counts.queued or counts.processing else "completed"
        urls = {"self": path, "results": f"{path}/results", "cancel": f"{path}/cancel"}
        return {"id": self.id, "status": status, **self.model_dump(mode="json", exclude={"id"}), "urls": urls}
