"""Quotas: open jobs in total and per owner, and uploaded bytes per owner and day.

Quotas are checked, not reserved: concurrent requests may together exceed one, but a crashed request leaks nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from redis import Redis

from common import problems
from common.jobs import OPEN, moment
from common.ledger import keys
from common.settings import Settings
from common.translation import ngettext

#: Retry-After in seconds for an owner with too many open jobs; some are captioned by then.
RETRY_AFTER = 30
DAY_SECONDS = 86400


def admit(redis: Redis, settings: Settings, owner: str | None, images: int) -> None:
    """Raise `queue-full` if `images` more exceed `max_open_jobs`, `quota-used-up` if they exceed the owner's limit."""
    max_own = settings.max_open_jobs_per_key
    pipe = redis.pipeline(transaction=False)
    for scope_owner in (None, owner) if owner and max_own else (None,):
        for status in OPEN:
            pipe.zcard(keys.in_status(status, keys.scope(scope_owner)))
    counts = pipe.execute()
    waiting, own = sum(counts[: len(OPEN)]), sum(counts[len(OPEN) :])
    if waiting + images > settings.max_open_jobs:
        raise problems.QUEUE_FULL(
            ngettext(
                "{count} picture is already waiting. Nothing was stored; send this request again in a minute.",
                "{count} pictures are already waiting. Nothing was stored; send this request again in a minute.",
                waiting,
            )
        )
    if owner and max_own and own + images > max_own:
        raise problems.QUOTA_USED_UP(
            "Your key has {waiting} pictures waiting, and may have {limit}. Nothing was stored; send this request "
            "again when some are done.",
            waiting=own,
            limit=max_own,
            extensions={"retry_after": RETRY_AFTER},
        )


def charge(redis: Redis, settings: Settings, owner: str | None, uploaded: int, clock: Callable[[], float]) -> None:
    """Add `uploaded` bytes to the owner's count of the day (UTC); raises `quota-used-up` without counting them."""
    max_bytes = settings.max_bytes_per_key_and_day
    if not (owner and max_bytes):
        return
    now = clock()
    key = keys.uploaded(owner, moment(now).date().isoformat())
    pipe = redis.pipeline()
    pipe.incrby(key, uploaded)
    pipe.expire(key, 2 * DAY_SECONDS)
    total, _ = pipe.execute()
    if total > max_bytes:
        redis.decrby(key, uploaded)
        raise problems.QUOTA_USED_UP(
            "A key may send {limit} MB a day, and this picture exceeds the rest. Send it again after midnight (UTC).",
            limit=round(max_bytes / 2**20, 1),
            extensions={"retry_after": DAY_SECONDS - int(now) % DAY_SECONDS},
        )
