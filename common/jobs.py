"""Jobs and batches: the pydantic models that are also the API's JSON."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

import uuid_utils
from pydantic import BaseModel, ConfigDict, PlainSerializer, WithJsonSchema
from pydantic.json_schema import SkipJsonSchema

from common.problems import Problem
from common.translation import SOURCE, Message


def rfc3339(moment: datetime) -> str:
    """Format a time in UTC with milliseconds, as in all of the API's JSON."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


_DATE_TIME = {"type": "string", "format": "date-time"}

#: A time, in JSON as RFC 3339 in UTC with milliseconds.
Moment = Annotated[datetime, PlainSerializer(rfc3339, when_used="json"), WithJsonSchema(_DATE_TIME)]


def moment(seconds: float) -> datetime:
    """Convert a Unix time in seconds to a UTC datetime."""
    return datetime.fromtimestamp(seconds, UTC)


def new_id() -> str:
    """Generate a UUIDv7. Ids sort by creation time (RFC 9562 §5.7)."""
    return str(uuid_utils.uuid7())


def made_at(any_id: str) -> float:
    """Return the Unix time in seconds at which `new_id` created this id."""
    return int(any_id.replace("-", "")[:12], 16) / 1000


def is_id(text: str) -> bool:
    """Return whether `text` is a UUIDv7 in the form of `new_id`."""
    try:
        parsed = UUID(text)
    except ValueError:
        return False
    return parsed.version == 7 and str(parsed) == text


class Status(StrEnum):
    """State of a job: `queued -> processing -> succeeded | failed | canceled`."""

    QUEUED = "queued"
    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"

    @property
    def terminal(self) -> bool:
        """Whether the state is final."""
        return self not in OPEN


#: The states that are not final.
OPEN = frozenset({Status.QUEUED, Status.PROCESSING})


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)


class ModelInfo(_Record):
    """A captioning model. `version` identifies its exact weights; `demo` marks the small bundled model."""

    name: str
    version: str
    demo: bool = False


class InputInfo(_Record):
    """An uploaded image. `width` and `height` are in pixels, in upright orientation."""

    filename: str
    sha256: str
    bytes: int
    format: str
    width: int
    height: int


class Alternative(_Record):
    """A further caption. `score` is its length-normalised log-probability."""

    caption: str
    score: float | None = None


class Translation(_Record):
    """A caption in another language, by its code (`ru`)."""

    language: str
    caption: str


class Output(_Record):
    """The best caption, and alternatives in order of their scores.

    `translated` is the best caption in the language of `CAPTIOND_TRANSLATE`, or null.
    """

    caption: str
    score: float | None = None
    alternatives: tuple[Alternative, ...] = ()
    translated: Translation | None = None


class Failure(_Record):
    """Why a job failed: type, title and detail of a problem, in English.

    `message` is the detail with its values apart, for its translation; records of earlier versions have none.
    """

    type: str
    title: str
    detail: str
    message: SkipJsonSchema[Message | None] = None

    @classmethod
    def of(cls, problem: Problem) -> Failure:
        return cls(type=problem.kind.type, title=problem.kind.title, detail=problem.detail, message=problem.message)

    def translated(self, language: str) -> Failure:
        """Return the failure with title and detail in `language`, without `message`."""
        detail = self.message.translated(language) if self.message else self.detail
        return Failure(type=self.type, title=Message(self.title).translated(language), detail=detail)

    def body(self, language: str = SOURCE) -> dict[str, str]:
        """Return the API's JSON, with title and detail in `language`."""
        return self.translated(language).model_dump(mode="json", exclude={"message"})


class Progress(_Record):
    """Number of images before this one, and estimated seconds until its caption; None if unknown."""

    position: int
    eta_seconds: float | None = None


class Timings(_Record):
    """Seconds in the queue and in the model, and the number of images in the model call."""

    queue_seconds: float
    model_seconds: float
    batch_size: int


class Job(_Record):
    """A captioning job for one image."""

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

    def body(self, prefix: str = "", language: str = SOURCE) -> dict[str, Any]:
        """Return the API's JSON, with the error in `language`.

        `urls` are paths below `prefix`, the path of the service at its proxy.
        """
        path = f"{prefix}/v1/jobs/{self.id}"
        urls = {"self": path, "cancel": f"{path}/cancel", "image": f"{path}/image" if self.input else None}
        error = self.error.body(language) if self.error else None
        return {**self.model_dump(mode="json"), "error": error, "urls": urls}


class RequestCounts(_Record):
    """Number of a batch's jobs in each state."""

    total: int
    queued: int = 0
    processing: int = 0
    succeeded: int = 0
    failed: int = 0
    canceled: int = 0


class Batch(_Record):
    """Images that were sent together. The status is `in_progress` until all jobs are final."""

    id: str
    request_counts: RequestCounts
    created_at: Moment
    expires_at: Moment

    def body(self, prefix: str = "") -> dict[str, Any]:
        """Return the API's JSON. `prefix` is that of `Job.body`."""
        path = f"{prefix}/v1/batches/{self.id}"
        counts = self.request_counts
        status = "in_progress" if counts.queued or counts.processing else "completed"
        urls = {"self": path, "results": f"{path}/results", "cancel": f"{path}/cancel"}
        return {"id": self.id, "status": status, **self.model_dump(mode="json", exclude={"id"}), "urls": urls}
