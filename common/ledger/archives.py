"""Archives of batches: ZIP files that workers unpack, leased to one worker at a time as jobs are."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from common.jobs import ArchiveStatus
from common.ledger import keys, records
from common.ledger.tasks import BatchTasks, TaskClaim
from common.logs import Subject
from common.options import CaptionOptions


@dataclass(frozen=True)
class ArchiveClaim(TaskClaim):
    """A worker's right to unpack one batch's archive, valid while its lease is extended.

    `bytes` is the archive's size. `resumed` is whether another worker has begun to unpack it. `options`, `webhook`,
    `prefix` and `traceparent` are those of the batch. A claim that has recorded a job counts as progress.
    """

    owner: str | None
    bytes: int
    resumed: bool
    options: CaptionOptions | None
    webhook: str | None
    prefix: str
    traceparent: str | None

    @property
    def subject(self) -> Subject:
        return Subject(batch_id=self.id, traceparent=self.traceparent)


class Archives(BatchTasks):
    """Leases archives to one worker at a time.

    A worker whose lease has ended may still create jobs for a while. The batch gets one job for each name, whoever
    creates it.
    """

    _leases = keys.ARCHIVES
    _field = "archive_"
    _claimed_status = ArchiveStatus.UNPACKING

    def claim(self) -> ArchiveClaim | None:
        """Claim the archive that has waited longest, for `lease_seconds`; None if none waits."""
        claimed = self._claim()
        if claimed is None:
            return None
        claim, fields = claimed
        return ArchiveClaim(
            **asdict(claim),
            owner=fields["owner"] or None,
            bytes=int(fields["archive_bytes"]),
            resumed=fields["archive_status"] == ArchiveStatus.UNPACKING,
            options=records.options_of(fields),
            webhook=fields.get("webhook"),
            prefix=fields.get("prefix", ""),
            traceparent=fields.get("traceparent"),
        )
