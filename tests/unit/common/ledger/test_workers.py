"""Registry of live workers."""

from __future__ import annotations

from redis import Redis

from common.ledger import Components, Worker
from tests.support.clock import Clock
from tests.unit.common.ledger.jobs import MODEL


class TestWorkers:
    def test_a_worker_without_heartbeat_is_not_alive_and_later_removed(
        self, components: Components, redis: Redis, clock: Clock
    ) -> None:
        workers = components.workers
        workers.announce(Worker(name="w", model=MODEL))
        assert [worker.name for worker in workers.alive()] == ["w"]

        clock.advance(11)
        assert workers.alive() == []
        assert redis.hlen("workers") == 1
        clock.advance(60)
        assert workers.alive() == []
        assert redis.hlen("workers") == 0

    def test_a_worker_that_left_is_not_alive(self, components: Components) -> None:
        workers = components.workers
        workers.announce(Worker(name="w", model=MODEL))

        workers.leave("w")

        assert workers.alive() == []
