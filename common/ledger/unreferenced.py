"""Unreferenced uploads: images without a job record, left by a web server killed between saving and recording."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from redis import Redis

from common.jobs import made_at
from common.ledger import keys
from common.settings import Settings

#: Seconds between scans of one folder of the upload store; a scan of all 256 folders takes four hours.
SCAN_INTERVAL = 60
#: Seconds for which an unreferenced upload is kept beyond `retention`. By then a record would have expired, so a worker
#: that is connected to the wrong Redis, where no image has a record, deletes nothing that is still needed.
GRACE_PERIOD = 3600.0


class UnreferencedUploads:
    """Finds unreferenced uploads, one folder at a time."""

    def __init__(self, redis: Redis, settings: Settings, clock: Callable[[], float]) -> None:
        self._redis = redis
        self._max_age = settings.retention + GRACE_PERIOD
        self._clock = clock

    def next_folder(self, folders: int) -> int | None:
        """The index of the folder to scan now; None if any worker scanned a folder within `SCAN_INTERVAL`."""
        if not self._redis.set(keys.TIDYING, 1, nx=True, ex=SCAN_INTERVAL):
            return None
        return int(self._redis.incr(keys.TIDIED)) % folders

    def select(self, job_ids: Iterable[str], min_age: float | None = None) -> list[str]:
        """The ids without a record that are older than `min_age` seconds, by default `retention + GRACE_PERIOD`."""
        created_before = self._clock() - (self._max_age if min_age is None else min_age)
        old = [job_id for job_id in job_ids if made_at(job_id) < created_before]
        pipe = self._redis.pipeline(transaction=False)
        for job_id in old:
            pipe.exists(keys.job(job_id), keys.batch(job_id))  # archives are stored by the batch's id
        return [job_id for job_id, exists in zip(old, pipe.execute(), strict=True) if not exists]
