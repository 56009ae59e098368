"""Chunks of manifests: about a thousand pictures each, captioned by one worker at a time into one file of results."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, cast

from common import strict_json
from common.ledger import keys, records
from common.ledger.tasks import TaskClaim, Tasks
from common.logs import Subject
from common.manifest_records import ResultFormat, Shard, ShardStatus
from common.options import CaptionOptions, model_of
from common.problems import Problem
from common.records import Failure


@dataclass(frozen=True)
class ChunkClaim(TaskClaim):
    """A worker's right to caption one chunk, valid while its lease is extended.

    `span` says which rows of the manifest at `url` it has, and `shard` is the name of its file in the folder `output`.
    """

    url: str
    output: str
    format: ResultFormat
    options: CaptionOptions | None
    shard: str
    span: dict[str, Any]

    @property
    def subject(self) -> Subject:
        return Subject(batch_id=self.id.partition("/")[0])


class Chunks(Tasks):
    """Leases chunks to one worker at a time. Batches take turns, each with its chunks in the order of the manifest."""

    _record = keys.CHUNK_PREFIX
    _field = ""
    _claimed_status = ShardStatus.PROCESSING

    def claim(self, model: str = "") -> ChunkClaim | None:
        """Claim the next chunk that asks for no model or for `model`, for `lease_seconds`; None if none waits."""
        claimed = self._claim_by(self._scripts.claim_chunk, model, self._claimed_status)
        if claimed is None:
            return None
        claim, fields = claimed
        batch_id, _, number = claim.id.partition("/")
        batch = cast("dict[str, str]", self._redis.hgetall(keys.batch(batch_id)))
        if not batch:  # it was deleted meanwhile
            return None
        format = ResultFormat(batch["manifest_format"])
        return ChunkClaim(
            **asdict(claim),
            url=batch["manifest"],
            output=batch["manifest_output"],
            format=format,
            options=records.options_of(batch),
            shard=shard_name(int(number), format),
            span=strict_json.loads(fields["span"]),
        )

    def finish(self, claim: ChunkClaim, *, captioned: int, failed: int) -> bool:
        """End a chunk whose results are written, with the numbers of pictures. Returns False when the claim is lost."""
        return self._finish(claim, ShardStatus.DONE, captioned, failed, "")

    def fail(self, claim: ChunkClaim, problem: Problem) -> bool:
        """End a chunk that has no results. Returns False when the claim is lost."""
        return self._finish(claim, ShardStatus.FAILED, 0, 0, records.field(Failure.of(problem)))

    def shards(self, batch_id: str, format: ResultFormat, first: int, count: int) -> list[Shard]:
        """Up to `count` chunks of the batch from number `first` on, in the order of the manifest."""
        pipe = self._redis.pipeline(transaction=False)
        for number in range(first, first + count):
            pipe.hgetall(keys.chunk(batch_id, number))
        return [
            _shard(shard_name(number, format), fields) for number, fields in enumerate(pipe.execute(), first) if fields
        ]

    def _leases_of(self, claim: TaskClaim) -> str:
        assert isinstance(claim, ChunkClaim), "chunks are claimed by `claim`"
        return keys.chunk_leases(model_of(claim.options))

    def _finish(self, claim: ChunkClaim, status: ShardStatus, captioned: int, failed: int, error: str) -> bool:
        arguments = [claim.id, claim.token, status, str(captioned), str(failed), error, str(self._settings.retention)]
        return bool(self._scripts.finish_chunk(args=[self._script_time(), *arguments]))


def shard_name(number: int, format: ResultFormat) -> str:
    """The name of a chunk's file of results. Names sort in the order of the manifest, up to 100,000 chunks."""
    return f"part-{number:05}.{format}"


def _shard(name: str, fields: dict[str, str]) -> Shard:
    return Shard(
        name=name,
        status=ShardStatus(fields.get("status", ShardStatus.WAITING)),
        captioned=int(fields.get("captioned", 0)),
        failed=int(fields.get("failed", 0)),
        error=Failure.model_validate(json.loads(fields["error"])) if "error" in fields else None,
    )
