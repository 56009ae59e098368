"""Pictures that no record knows, as a web server leaves one that is killed between saving and recording it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from redis import Redis

from common.jobs import made_at
from common.ledger import keys
from common.settings import Settings

#: Seconds between two looks into one of the upload store's folders; a round over all 256 takes four hours.
LOOK_EVERY = 60
#: Seconds for which an orphan outlives `retention`: had it a record, the record's own expiry would come first. No
#: sooner, so that a worker that is pointed at the wrong Redis, where no picture has a record, does no harm.
GRACE = 3600.0


class UnreferencedUploads:
    """Finds them, a folder at a time."""

    def __init__(self, redis: Redis, settings: Settings, clock: Callable[[], float]) -> None:
        self._redis = redis
        self._age = settings.retention + GRACE
        self._clock = clock

    def next_folder(self, folders: int) -> int | None:
        """Which of so many folders to look into now; None when another was, by any worker, in the last minute."""
        if not self._redis.set(keys.TIDYING, 1, nx=True, ex=LOOK_EVERY):
            return None
        return int(self._redis.incr(keys.TIDIED)) % folders

    def among(self, job_ids: Iterable[str], age: float | None = None) -> list[str]:
        """Those of the ids that have no record and are older than `age`, in seconds; unless told, than any is kept."""
        made_before = self._clock() - (self._age if age is None else age)
        old = [job_id for job_id in job_ids if made_at(job_id) < made_before]
        pipe = self._redis.pipeline(transaction=False)
        for job_id in old:
            pipe.exists(keys.job(job_id))
        return [job_id for job_id, known in zip(old, pipe.execute(), strict=True) if not known]
