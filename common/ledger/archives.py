"""Archives of batches: ZIP files that workers unpack, leased to one worker at a time as jobs are."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import cast

from common.jobs import ArchiveStatus, Failure
from common.ledger import records
from common.ledger.base import Base
from common.ledger.scripts import record_of
from common.options import CaptionOptions
from common.problems import Problem


@dataclass(frozen=True)
class ArchiveClaim:
    """A worker's right to unpack one batch's archive, valid while its lease is extended.

    `bytes` is the archive's size. `resumed` is whether another worker has begun to unpack it, and `attempts` the number
    of claims, with this one, since the last one that recorded a job. `options`, `webhook`, `prefix` and `traceparent`
    are those of the batch.
    """

    id: str
    token: str
    owner: str | None
    bytes: int
    resumed: bool
    attempts: int
    options: CaptionOptions | None
    webhook: str | None
    prefix: str
    traceparent: str | None


class Archives(Base):
    """Leases archives to one worker at a time; the lease's token fences the end of unpacking.

    A worker whose lease has ended may still create jobs for a while. The batch gets one job for each name, whoever
    creates it.
    """

    def claim(self) -> ArchiveClaim | None:
        """Claim the archive that has waited longest, for `lease_seconds`; None if none waits."""
        token = secrets.token_hex(8)
        claimed = self._scripts.claim_archive(args=[self._script_time(), self._settings.lease_seconds, token])
        if not claimed:
            return None
        batch_id, record = cast("tuple[str, object]", claimed)
        fields = record_of(record)  # as before the claim
        return ArchiveClaim(
            id=batch_id,
            token=token,
            owner=fields["owner"] or None,
            bytes=int(fields["archive_bytes"]),
            resumed=fields["archive_status"] == ArchiveStatus.UNPACKING,
            attempts=int(fields.get("archive_attempts", 0)) + 1,
            options=records.options_of(fields),
            webhook=fields.get("webhook"),
            prefix=fields.get("prefix", ""),
            traceparent=fields.get("traceparent"),
        )

    def extend(self, claim: ArchiveClaim, *, progress: bool) -> bool:
        """Renew the lease. Returns False when the claim is lost. `progress` is whether the claim has recorded a job."""
        return self._set_lease(claim, self._settings.lease_seconds, "0" if progress else "")

    def release(self, claim: ArchiveClaim, delay: float = 0.0) -> None:
        """Let another worker claim the archive after `delay` seconds, without counting the attempt."""
        self._set_lease(claim, delay, str(claim.attempts - 1))

    def finish(self, claim: ArchiveClaim, problem: Problem | None = None) -> bool:
        """End the unpacking, with a problem if it failed, and seal the batch. Returns False when the claim is lost."""
        error = records.field(Failure.of(problem)) if problem else ""
        return bool(self._scripts.finish_archive(args=[self._script_time(), claim.id, claim.token, error]))

    def _set_lease(self, claim: ArchiveClaim, seconds: float, attempts: str) -> bool:
        return bool(
            self._scripts.extend_archive(args=[self._script_time(), claim.id, claim.token, str(seconds), attempts])
        )
