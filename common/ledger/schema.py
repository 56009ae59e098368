"""Schema version of the ledger: refuses incompatible versions and migrates records of earlier ones."""

from __future__ import annotations

import logging
import time
from typing import cast

from redis import RedisError

from common.ledger import keys
from common.ledger.base import Base
from common.ledger.submission import SCHEMA_VERSION, host_of

#: Jobs migrated per script call, which blocks Redis.
MIGRATION_BATCH_SIZE = 200
#: Seconds between two checks whether the workers of an earlier version have stopped.
POLL_INTERVAL = 0.5

log = logging.getLogger(__name__)


class SchemaError(Exception):
    """This version cannot use the ledger; the message says why and what to do."""


class Schema(Base):
    """The ledger's schema in Redis."""

    def prepare(self) -> None:
        """Migrate the ledger to this version's schema; call it before a process uses the ledger. Raises `SchemaError`.

        Waits `ready_seconds` for workers of an earlier version, as a dead one counts as alive that long. If Redis does
        not answer, does nothing: the recovery migrates later.
        """
        try:
            self._check()
            while self.migrate():
                pass
        except RedisError as error:
            log.warning("Redis does not answer (%s); the recovery migrates the ledger later.", error)

    def migrate(self) -> bool:
        """Migrate the queue and up to `MIGRATION_BATCH_SIZE` jobs of schema 1; returns whether there may be more."""
        if self._stored_version() < SCHEMA_VERSION:
            self._scripts.upgrade(args=[SCHEMA_VERSION])
        ids = cast("list[str]", self._redis.zrange(keys.LEGACY_ALL, 0, MIGRATION_BATCH_SIZE - 1))
        if not ids:
            return False
        pipe = self._redis.pipeline(transaction=False)
        for job_id in ids:
            pipe.hget(keys.job(job_id), "_webhook")
        urls = cast("list[str | None]", pipe.execute())
        pairs = [part for job_id, url in zip(ids, urls, strict=True) for part in (job_id, host_of(url) if url else "")]
        self._scripts.migrate(args=[SCHEMA_VERSION, *pairs])
        log.info("Migrated %d jobs of an earlier version.", len(ids))
        return True

    def _check(self) -> None:
        if (stored := self._stored_version()) > SCHEMA_VERSION:
            raise SchemaError(
                f"The ledger in Redis has schema {stored}, but this version supports schemas up to {SCHEMA_VERSION}. "
                "Start the version that wrote it, or a newer one."
            )
        deadline = time.monotonic() + self._settings.ready_seconds + POLL_INTERVAL
        while earlier := self._earlier_workers():
            if time.monotonic() > deadline:
                raise SchemaError(
                    f"A worker of an earlier version is running on this Redis: {', '.join(earlier)}. Stop all workers "
                    "and web servers of that version, then start this one; waiting jobs are kept."
                )
            time.sleep(POLL_INTERVAL)

    def _stored_version(self) -> int:
        return int(cast("str | None", self._redis.get(keys.SCHEMA)) or 1)

    def _earlier_workers(self) -> list[str]:
        return [worker.name for worker in self._dependencies.workers.alive() if worker.ledger_schema < SCHEMA_VERSION]
