"""Pictures that no record knows, as a web server leaves one that is killed between saving and recording it."""

from __future__ import annotations

from collections.abc import Iterable

from redis import Redis

from common.jobs import made_at
from common.ledger import keys

#: Seconds between two looks into one of the upload store's folders; a round over all 256 takes four hours.
LOOK_EVERY = 60
#: Seconds for which an orphan outlives `retention`: had it a record, the record's own expiry would come first. No
#: sooner, so that a worker that is pointed at the wrong Redis, where no picture has a record, does no harm.
GRACE = 3600.0


def next_folder(redis: Redis, folders: int) -> int | None:
    """The folder to look into now; None when another was, by any worker, in the last minute."""
    if not redis.set(keys.TIDYING, 1, nx=True, ex=LOOK_EVERY):
        return None
    return int(redis.incr(keys.TIDIED)) % folders


def orphaned(redis: Redis, job_ids: Iterable[str], made_before: float) -> list[str]:
    """Those of the ids, made before that Unix time, that have no record."""
    old = [job_id for job_id in job_ids if made_at(job_id) < made_before]
    pipe = redis.pipeline(transaction=False)
    for job_id in old:
        pipe.exists(keys.job(job_id))
    return [job_id for job_id, known in zip(old, pipe.execute(), strict=True) if not known]
