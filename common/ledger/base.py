"""What the parts of the ledger share: Redis, the clock, and which principal they act for."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Self, cast

from redis import Redis

from common.ledger import keys
from common.ledger.clock import clock_of
from common.ledger.scripts import Scripts
from common.ledger.viewer import EVERYBODY, Viewer
from common.problems import Kind, Problem
from common.settings import Settings


class Base:
    """Methods raise `redis.RedisError` when Redis does not answer.

    `clock` gives the Unix time in seconds and is for tests; by default it is Redis' own time.
    """

    def __init__(self, redis: Redis, settings: Settings, clock: Callable[[], float] | None = None) -> None:
        self._redis = redis
        self._settings = settings
        self._clock = clock or clock_of(redis)
        self._given_clock = clock
        self._scripts = Scripts(redis)
        self._viewer = EVERYBODY

    def for_viewer(self, viewer: Viewer) -> Self:
        """The same as `viewer` sees it: what they make is theirs, and what is not theirs is not there."""
        seen = copy.copy(self)
        seen._viewer = viewer
        return seen

    def _time(self) -> str:
        """The time as scripts take it: '' has them ask Redis themselves, which spares a round trip."""
        return str(self._given_clock()) if self._given_clock else ""

    def _missing(self, any_id: str, not_found: Kind, gone: Kind, what: str) -> Problem:
        """The problem of an id without a record: `gone` if the viewer might have seen one, else `not_found`."""
        owner = cast("str | None", self._redis.get(keys.known(any_id)))
        if owner is not None and self._viewer.may_see(owner or None):
            return gone(f"This {what} was deleted, by request or because its time was over.")
        return not_found(f"No {what} has this id. Check the address, or send the picture again.")
