"""Records of a batch's manifest and of its chunks: the pydantic models that are also the API's JSON."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from common.records import Failure, Record
from common.translation import SOURCE


class ManifestStatus(StrEnum):
    """State of cutting a batch's manifest into chunks: `waiting -> cutting -> done | failed`."""

    WAITING = "waiting"
    CUTTING = "cutting"
    DONE = "done"
    FAILED = "failed"


class ResultFormat(StrEnum):
    """Format of the files of results of a manifest, which is also their suffix."""

    JSONL = "jsonl"
    PARQUET = "parquet"


class ChunkCounts(Record):
    """Number of a manifest's chunks that were cut, and of those that have ended."""

    total: int
    done: int = 0
    failed: int = 0
    canceled: int = 0


class PictureCounts(Record):
    """Number of pictures in the chunks that are done: with a caption, and with an error."""

    captioned: int = 0
    failed: int = 0


class Manifest(Record):
    """The list of a batch's pictures, at `url`. It is cut into chunks, each of which becomes a file below `output`.

    `error` says why it could not be cut to its end.
    """

    url: str
    status: ManifestStatus
    format: ResultFormat
    output: str
    chunks: ChunkCounts
    pictures: PictureCounts
    error: Failure | None = None

    @property
    def open(self) -> bool:
        """Whether chunks have not ended."""
        return self.chunks.total > self.chunks.done + self.chunks.failed + self.chunks.canceled

    def body(self, language: str = SOURCE) -> dict[str, Any]:
        """Return the API's JSON, with the error in `language`."""
        return {**self.model_dump(mode="json"), "error": self.error.body(language) if self.error else None}


class ShardStatus(StrEnum):
    """State of a chunk of a manifest: `waiting -> processing -> done | failed | canceled`."""

    WAITING = "waiting"
    PROCESSING = "processing"
    DONE = "done"
    FAILED = "failed"
    CANCELED = "canceled"


class Shard(Record):
    """A chunk of a manifest, and the name of its file of results, which exists once it is `done`.

    `captioned` and `failed` are numbers of pictures. `error` says why the chunk as a whole failed.
    """

    name: str
    status: ShardStatus
    captioned: int = 0
    failed: int = 0
    error: Failure | None = None

    def body(self, language: str = SOURCE) -> dict[str, Any]:
        """Return the API's JSON, with the error in `language`."""
        return {**self.model_dump(mode="json"), "error": self.error.body(language) if self.error else None}
