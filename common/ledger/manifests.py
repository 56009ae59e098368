"""Manifests of batches: lists of pictures that are cut into chunks, leased to one worker at a time as jobs are."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from common import strict_json
from common.ledger import keys
from common.ledger.tasks import BatchTasks, TaskClaim
from common.manifest_records import ManifestStatus


@dataclass(frozen=True)
class ManifestClaim(TaskClaim):
    """A worker's right to cut one batch's manifest, valid while its lease is extended.

    `output` is the URL of the folder of results. `chunks` is the number of chunks that were cut before, and `position`
    where the next one begins, as given to `add_chunk`; None at the beginning. A claim that has recorded a chunk counts
    as progress.
    """

    url: str
    output: str
    chunks: int
    position: dict[str, Any] | None


class Manifests(BatchTasks):
    """Leases manifests to one worker at a time; only the worker with the valid claim adds chunks."""

    _leases = keys.MANIFESTS
    _field = "manifest_"
    _claimed_status = ManifestStatus.CUTTING

    def claim(self) -> ManifestClaim | None:
        """Claim the manifest that has waited longest, for `lease_seconds`; None if none waits."""
        claimed = self._claim()
        if claimed is None:
            return None
        claim, fields = claimed
        position = fields.get("manifest_position")
        return ManifestClaim(
            **asdict(claim),
            url=fields["manifest"],
            output=fields["manifest_output"],
            chunks=int(fields.get("manifest_chunks", 0)),
            position=strict_json.loads(position) if position else None,
        )

    def add_chunk(self, claim: ManifestClaim, number: int, span: dict[str, Any], position: dict[str, Any]) -> bool:
        """Record chunk `number`, counted from 0, and the position after it. Returns False when the claim is lost.

        The claim is also lost when the batch was canceled.
        """
        documents = [strict_json.dumps(value, separators=(",", ":")) for value in (span, position)]
        arguments = [claim.id, claim.token, str(number), *documents]
        return bool(self._scripts.add_chunk(args=[self._script_time(), *arguments]))
