"""What the parts of the ledger share: Redis, the clock, and which principal they act for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self, cast

from redis import Redis

from common.ledger import keys
from common.ledger.principal import EVERYBODY, Principal
from common.ledger.scripts import Scripts
from common.ledger.workers import Workers
from common.problems import Kind, Problem
from common.settings import Settings


@dataclass(frozen=True)
class Shared:
    """What `Components` builds once for them. `given_clock` is the `clock`, or None where that asks Redis."""

    redis: Redis
    settings: Settings
    clock: Callable[[], float]
    given_clock: Callable[[], float] | None
    scripts: Scripts
    workers: Workers


class Base:
    """Methods raise `redis.RedisError` when Redis does not answer."""

    def __init__(self, shared: Shared, principal: Principal = EVERYBODY) -> None:
        self._shared = shared
        self._redis = shared.redis
        self._settings = shared.settings
        self._clock = shared.clock
        self._scripts = shared.scripts
        self._principal = principal

    def for_principal(self, principal: Principal) -> Self:
        """The same as `principal` sees it: what they make is theirs, and what is not theirs is not there."""
        return type(self)(self._shared, principal)

    def _time(self) -> str:
        """The time as scripts take it: '' has them ask Redis themselves, which spares a round trip."""
        return str(self._shared.given_clock()) if self._shared.given_clock else ""

    def _missing(self, any_id: str, not_found: Kind, gone: Kind, what: str) -> Problem:
        """The problem of an id without a record: `gone` if the principal might have seen one, else `not_found`."""
        owner = cast("str | None", self._redis.get(keys.known(any_id)))
        if owner is not None and self._principal.may_see(owner or None):
            return gone(f"This {what} was deleted, by request or because its time was over.")
        return not_found(f"No {what} has this id. Check the address, or send the picture again.")
