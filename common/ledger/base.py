"""Base class of the ledger's components: Redis client, clock and principal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self, cast

from redis import ConnectionError, Redis, RedisError

from common import problems
from common.ledger import keys
from common.ledger.principal import UNRESTRICTED, Principal
from common.ledger.scripts import Scripts
from common.ledger.workers import Workers
from common.problems import Problem
from common.settings import Settings

#: Milliseconds within which the replicas must have a job.
REPLICA_TIMEOUT_MS = 1000
#: Seconds until the key that the readiness probe and the wait for replicas write expires.
PROBE_TTL = 60


class NotReplicated(ConnectionError):
    """A record has been written, but too few replicas are known to have it: it may be lost with the primary."""


@dataclass(frozen=True)
class Dependencies:
    """Dependencies that `Components` builds once. `test_clock` is `clock` in tests, None if `clock` asks Redis."""

    redis: Redis
    settings: Settings
    clock: Callable[[], float]
    test_clock: Callable[[], float] | None
    scripts: Scripts
    workers: Workers


class Base:
    """Methods raise `redis.RedisError` when Redis does not answer."""

    def __init__(self, dependencies: Dependencies, principal: Principal = UNRESTRICTED) -> None:
        self._dependencies = dependencies
        self._redis = dependencies.redis
        self._settings = dependencies.settings
        self._clock = dependencies.clock
        self._scripts = dependencies.scripts
        self._principal = principal

    def for_principal(self, principal: Principal) -> Self:
        """A copy that acts for `principal`: it owns new records, and records it may not see do not exist."""
        return type(self)(self._dependencies, principal)

    def _newest(self, key: str, limit: int, cursor: str | None) -> tuple[list[str], str | None]:
        """Up to `limit` ids of an index after the id `cursor`, newest first, and the cursor of the next page."""
        start = f"({cursor}" if cursor else "+"
        ids = cast("list[str]", self._redis.zrevrangebylex(key, start, "-", start=0, num=limit + 1))
        return ids[:limit], ids[limit - 1] if len(ids) > limit else None

    def _script_time(self) -> str:
        """The time argument of a script; '' lets the script ask Redis, which saves a round trip."""
        return str(self._dependencies.test_clock()) if self._dependencies.test_clock else ""

    def _await_replicas(self, key: str) -> None:
        """Return when `redis_replicas` replicas have `key` as it is now. Raises `NotReplicated`.

        Redis answers a write before any replica has it. `WAIT` waits for the last write of its own connection, thus the
        write before it. The three commands are one pipeline on one connection, so that after a failover in between the
        new primary is asked, which may lack the key.
        """
        if not self._settings.redis_replicas:
            return
        pipe = self._redis.pipeline(transaction=False)
        pipe.exists(key)
        pipe.set(keys.PROBE, 1, ex=PROBE_TTL)
        pipe.execute_command("WAIT", self._settings.redis_replicas, REPLICA_TIMEOUT_MS)
        try:
            exists, _set, replicas = pipe.execute()
        except RedisError as error:
            raise NotReplicated(f"it is unknown whether replicas have {key}: {error}") from error
        if not exists or replicas < self._settings.redis_replicas:
            raise NotReplicated(f"{replicas} of {self._settings.redis_replicas} replicas have {key}")

    def _missing_batch(self, batch_id: str) -> Problem:
        return self._missing_problem(
            batch_id,
            problems.BATCH_NOT_FOUND("No batch has this id. Check the address, or send the pictures again."),
            problems.BATCH_GONE("This batch was deleted, by request or because its retention time ended."),
        )

    def _missing_problem(self, any_id: str, not_found: Problem, gone: Problem) -> Problem:
        """The problem of an id without a record: `gone` if the principal could see the record, else `not_found`."""
        owner = cast("str | None", self._redis.get(keys.known(any_id)))
        if owner is not None and self._principal.may_see(owner or None):
            return gone
        return not_found
