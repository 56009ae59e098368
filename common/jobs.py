"""Jobs and batches: the pydantic models that are also the API's JSON."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Self
from uuid import UUID

import uuid_utils
from pydantic import Field, PlainSerializer, WithJsonSchema

from common import problems
from common.manifest_records import Manifest, PictureCounts
from common.options import CaptionOptions, fill_template
from common.records import Failure, Record
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


class ModelInfo(Record):
    """A captioning model. `version` identifies its exact weights; `demo` marks the small bundled model.

    `instructions` is whether the model takes instructions in words, and thus a language.
    """

    name: str
    version: str
    demo: bool = False
    instructions: bool = False


class InputInfo(Record):
    """An uploaded image. `width` and `height` are in pixels, in upright orientation."""

    filename: str
    sha256: str
    bytes: int
    format: str
    width: int
    height: int


class Alternative(Record):
    """A further caption. `score` is its length-normalised log-probability."""

    caption: str
    score: float | None = None


class Translation(Record):
    """A caption in another language, by its code (`ru`)."""

    language: str
    caption: str


class Output(Record):
    """The best caption, and alternatives in order of their scores.

    `confidence` is the chance that the caption is right, and `unsure` whether it is below `CAPTIOND_UNSURE_BELOW`;
    both are None if the model has no calibration for these settings. `translated` is the best caption in the language
    of `CAPTIOND_TRANSLATE`, as the model said it: without a template.
    """

    caption: str
    score: float | None = None
    alternatives: tuple[Alternative, ...] = ()
    confidence: Annotated[float, Field(ge=0, le=1)] | None = None
    unsure: bool | None = None
    translated: Translation | None = None

    def judged(self, unsure_below: float) -> Output:
        """Return the output with `unsure` by this limit."""
        unsure = None if self.confidence is None else self.confidence < unsure_below
        return self.model_copy(update={"unsure": unsure})

    def with_template(self, template: str | None) -> Self:
        """The same captions inside `template`, if there is one. The translation stays without, as it has another
        language.
        """
        if template is None:
            return self
        alternatives = tuple(
            each.model_copy(update={"caption": fill_template(template, each.caption)}) for each in self.alternatives
        )
        update = {"caption": fill_template(template, self.caption), "alternatives": alternatives}
        return self.model_copy(update=update)


class Edit(Record):
    """The caption that a person wrote in place of the model's, and when."""

    caption: str
    at: Moment


def _text(sentence: Message | None) -> str | None:
    return None if sentence is None else str(sentence)


#: A sentence or None, in JSON as text. An annotation of `Message` itself would change its JSON in all other models.
Sentence = Annotated[Message | None, PlainSerializer(_text, when_used="json")]


class Progress(Record):
    """Number of images before this one, and estimated seconds until its caption; None if unknown.

    `reason` says why the job waits although its turn may have come, if there is such a reason.
    """

    position: int
    eta_seconds: float | None = None
    reason: Sentence = None

    def body(self, language: str = SOURCE) -> dict[str, Any]:
        """Return the API's JSON, with the reason in `language`."""
        return {**self.model_dump(mode="json"), "reason": self.reason.translated(language) if self.reason else None}


class Timings(Record):
    """Seconds in the queue and in the model, and the number of images in the model call."""

    queue_seconds: float
    model_seconds: float
    batch_size: int


class Job(Record):
    """A captioning job for one image."""

    id: str
    status: Status
    batch: str | None = None
    custom_id: str | None = None
    model: ModelInfo | None = None
    input: InputInfo | None = None
    options: CaptionOptions | None = None
    output: Output | None = None
    edited: Edit | None = None
    error: Failure | None = None
    progress: Progress | None = None
    cached: bool = False
    attempts: int = 0
    created_at: Moment
    started_at: Moment | None = None
    completed_at: Moment | None = None
    expires_at: Moment
    timings: Timings | None = None

    @property
    def caption(self) -> str | None:
        """The caption to use: the one that a person wrote, else the model's; None without either."""
        if self.edited:
            return self.edited.caption
        return self.output.caption if self.output else None

    def judged(self, unsure_below: float) -> Job:
        """Return the job with its output's `unsure` by this limit."""
        return self.model_copy(update={"output": self.output.judged(unsure_below)}) if self.output else self

    @property
    def translation(self) -> Translation | None:
        """The translation of `caption`; None for a caption that a person wrote."""
        return self.output.translated if self.output and not self.edited else None

    @property
    def has_image(self) -> bool:
        """Whether the image is stored: a refused one never was, and a lost one is not."""
        return self.input is not None and (self.error is None or self.error.type != problems.UPLOAD_LOST.type)

    def body(self, prefix: str = "", language: str = SOURCE) -> dict[str, Any]:
        """Return the API's JSON, with the error in `language`.

        `urls` are paths below `prefix`, the path of the service at its proxy.
        """
        path = f"{prefix}/v1/jobs/{self.id}"
        actions = {name: f"{path}/{name}" for name in ("cancel", "retry")}
        urls = {"self": path, **actions, "image": f"{path}/image" if self.input else None}
        error = self.error.body(language) if self.error else None
        progress = self.progress.body(language) if self.progress else None
        return _body(self, error=error, progress=progress, urls=urls)


class RequestCounts(Record):
    """Number of a batch's jobs in each state."""

    total: int
    queued: int = 0
    processing: int = 0
    succeeded: int = 0
    failed: int = 0
    canceled: int = 0


class BatchStatus(StrEnum):
    """State of a batch. It is `open` while it accepts items, then `in_progress` until all its jobs are final.

    `canceled` is a batch that was canceled as a whole; some of its jobs may have ended before.
    """

    OPEN = "open"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    CANCELED = "canceled"


class ArchiveStatus(StrEnum):
    """State of a batch's archive: `waiting -> unpacking -> done | failed`."""

    WAITING = "waiting"
    UNPACKING = "unpacking"
    DONE = "done"
    FAILED = "failed"


class Archive(Record):
    """The ZIP archive of a batch's images. `error` says why it could not be unpacked to its end."""

    filename: str
    status: ArchiveStatus = ArchiveStatus.WAITING
    error: Failure | None = None

    def body(self, language: str = SOURCE) -> dict[str, Any]:
        """Return the API's JSON, with the error in `language`."""
        return {**self.model_dump(mode="json"), "error": self.error.body(language) if self.error else None}


class Batch(Record):
    """Images that were sent together, or the pictures of a manifest, which have no jobs.

    `options` apply to all its images. Its jobs are canceled at `cancel_after` if they have not ended by then. `reason`
    says why they wait although their turn may have come, if there is such a reason.
    """

    id: str
    name: str | None = None
    status: BatchStatus
    options: CaptionOptions | None = None
    archive: Archive | None = None
    manifest: Manifest | None = None
    request_counts: RequestCounts
    canceled_reason: str | None = None
    reason: Sentence = None
    created_at: Moment
    cancel_after: Moment | None = None
    expires_at: Moment

    @property
    def title(self) -> str | None:
        """The batch's name, else that of its archive or manifest; None without any."""
        if self.name or self.archive:
            return self.name or (self.archive.filename if self.archive else None)
        return self.manifest.url.rstrip("/").rpartition("/")[2] if self.manifest else None

    @property
    def pictures(self) -> int:
        """Number of pictures: of its jobs, or of the chunks that are done."""
        done = self.manifest.pictures if self.manifest else PictureCounts()
        return self.request_counts.total + done.captioned + done.failed

    def body(self, prefix: str = "", language: str = SOURCE) -> dict[str, Any]:
        """Return the API's JSON. `prefix` and `language` are those of `Job.body`."""
        path = f"{prefix}/v1/batches/{self.id}"
        actions = {name: f"{path}/{name}" for name in ("items", "seal", "jobs", "results", "cancel", "retry")}
        archive = self.archive.body(language) if self.archive else None
        manifest = self.manifest.body(language) if self.manifest else None
        reason = Message(self.canceled_reason).translated(language) if self.canceled_reason else None
        waits = self.reason.translated(language) if self.reason else None
        translated = {"archive": archive, "manifest": manifest, "canceled_reason": reason, "reason": waits}
        return _body(self, **translated, urls={"self": path, **actions})


def _body(record: Job | Batch, **members: Any) -> dict[str, Any]:
    """The record's JSON, with `members` in place of its own; its options are those that are set."""
    options = record.options.body() if record.options else None
    return {**record.model_dump(mode="json"), "options": options, **members}
