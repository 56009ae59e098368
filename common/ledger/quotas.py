"""How much may be asked of the service: open jobs of all and of each owner, and an owner's bytes in a day.

Counted, not reserved: requests that are under way at once may go over by what they bring, and nothing has to be given
back when one of them dies.
"""

from __future__ import annotations

from collections.abc import Callable

from redis import Redis

from common import problems
from common.jobs import OPEN, moment
from common.ledger import keys
from common.settings import Settings

#: Seconds after which an owner with too many open jobs may try again: some are captioned by then.
PAUSE = 30
#: Seconds of a day.
DAY = 86400


def admit(redis: Redis, settings: Settings, owner: str | None, pictures: int) -> None:
    """Raise `queue-full` when `pictures` more would exceed `max_open_jobs`, `quota-used-up` for the owner's own."""
    most = settings.max_open_jobs_per_key
    pipe = redis.pipeline(transaction=False)
    for whose in (None, owner) if owner and most else (None,):
        for status in OPEN:
            pipe.zcard(keys.in_status(status, keys.scope(whose)))
    counts = pipe.execute()
    waiting, own = sum(counts[: len(OPEN)]), sum(counts[len(OPEN) :])
    if waiting + pictures > settings.max_open_jobs:
        raise problems.QUEUE_FULL(
            f"{waiting} pictures are waiting already. Send this again in a minute, nothing of it was kept."
        )
    if owner and most and own + pictures > most:
        raise problems.QUOTA_USED_UP(
            f"{own} of your pictures are waiting already, and a key may have {most}. Send this again when some are "
            "done; nothing of it was kept.",
            retry_after=PAUSE,
        )


def charge(redis: Redis, settings: Settings, owner: str | None, uploaded: int, clock: Callable[[], float]) -> None:
    """Count `uploaded` bytes for the owner's day (in UTC); raises `quota-used-up`, and counts nothing then."""
    most = settings.max_bytes_per_key_and_day
    if not (owner and most):
        return
    now = clock()
    key = keys.uploaded(owner, moment(now).date().isoformat())
    pipe = redis.pipeline()
    pipe.incrby(key, uploaded)
    pipe.expire(key, 2 * DAY)
    total, _ = pipe.execute()
    if total > most:
        redis.decrby(key, uploaded)
        raise problems.QUOTA_USED_UP(
            f"A key may send {most / 2**20:.1f} MB a day, and this picture would go beyond. Send it again after "
            "midnight (UTC).",
            retry_after=DAY - int(now) % DAY,
        )
