"""The version of the ledger's records: refuses to run beside another, and moves what an earlier version wrote."""

from __future__ import annotations

import logging
import time
from typing import cast

from redis import RedisError

from common.ledger import keys
from common.ledger.base import Base
from common.ledger.submission import SCHEMA, host_of

#: Jobs moved in one step, so that Redis is not kept for long.
MIGRATED_AT_ONCE = 200
#: Seconds between two looks at whether the workers of an earlier version have ended.
LOOK_EVERY = 0.5

log = logging.getLogger(__name__)


class SchemaError(Exception):
    """This version cannot use the ledger now; the message says why and what to do."""


class Schema(Base):
    """The ledger's schema in Redis."""

    def start(self) -> None:
        """Have the ledger in this version's schema before a process uses it. Raises `SchemaError`.

        Workers of an earlier version are waited for as long as a dead one counts as alive. Where Redis does not answer
        nothing is done: the recovery migrates when it does.
        """
        try:
            self._check()
            self._redis.set(keys.SCHEMA, SCHEMA)
            while self.migrate():
                pass
        except RedisError as error:
            log.warning("Redis does not answer (%s); whether the ledger has to be migrated is seen later.", error)

    def migrate(self) -> bool:
        """Move some jobs that an earlier version wrote into the present indexes; whether there may be more."""
        ids = cast("list[str]", self._redis.zrange(keys.EARLIER_ALL, 0, MIGRATED_AT_ONCE - 1))
        if not ids:
            return False
        pipe = self._redis.pipeline(transaction=False)
        for job_id in ids:
            pipe.hget(keys.job(job_id), "_webhook")
        urls = cast("list[str | None]", pipe.execute())
        pairs = [part for job_id, url in zip(ids, urls, strict=True) for part in (job_id, host_of(url) if url else "")]
        self._scripts.migrate(args=[SCHEMA, *pairs])
        log.info("Moved %d jobs of an earlier version into the present queue and indexes.", len(ids))
        return True

    def _check(self) -> None:
        stored = int(cast("str | None", self._redis.get(keys.SCHEMA)) or 1)
        if stored > SCHEMA:
            raise SchemaError(
                f"The ledger in Redis has schema {stored}, and this version knows schemas up to {SCHEMA}. "
                "Start the version that wrote it, or a newer one."
            )
        deadline = time.monotonic() + self._settings.ready_seconds + LOOK_EVERY
        while earlier := self._earlier_workers():
            if time.monotonic() > deadline:
                raise SchemaError(
                    f"A worker of an earlier version is running on this Redis: {', '.join(earlier)}. Stop all workers "
                    "and web servers of that version, then start this one; jobs that wait are kept."
                )
            time.sleep(LOOK_EVERY)

    def _earlier_workers(self) -> list[str]:
        return [worker.name for worker in self._shared.workers.alive() if worker.ledger_schema < SCHEMA]
