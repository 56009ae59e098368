"""Registry of live workers."""

from __future__ import annotations

import json

from redis import Redis

from common.jobs import ModelInfo
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

    def test_a_lost_worker_is_listed_for_a_while_with_the_age_of_its_heartbeat(
        self, components: Components, clock: Clock
    ) -> None:
        components.workers.announce(Worker(name="lost", model=MODEL))
        clock.advance(20)
        components.workers.announce(Worker(name="alive", model=MODEL))

        assert [(worker.name, age) for worker, age in components.workers.with_ages()] == [("alive", 0), ("lost", 20)]

    def test_a_heartbeat_from_before_the_clock_was_set_back_does_not_count(
        self, components: Components, redis: Redis, clock: Clock
    ) -> None:
        workers = components.workers
        workers.announce(Worker(name="lost", model=MODEL))
        clock.advance(-30)

        assert workers.alive() == []
        clock.advance(-3600)
        assert workers.alive() == []
        assert redis.hlen("workers") == 0

    def test_the_first_heartbeat_is_the_start(self, components: Components, clock: Clock) -> None:
        first = components.workers.announce(Worker(name="w", model=MODEL))
        clock.advance(5)
        second = components.workers.announce(first)

        assert second.started_at == first.started_at
        assert second.heard_at == first.heard_at + 5

    def test_a_record_of_an_earlier_version_can_be_read(self, components: Components, redis: Redis) -> None:
        components.workers.announce(Worker(name="w", model=MODEL))
        stored = json.loads(redis.hgetall("workers")["w"])
        earlier = {name: stored[name] for name in ("name", "model", "heard_at", "ledger_schema")}
        redis.hset("workers", "w", json.dumps(earlier))

        assert [(worker.version, worker.memory_bytes) for worker in components.workers.alive()] == [("", 0)]

    def test_models_are_known_for_the_retention_time_with_their_live_workers(
        self, components: Components, redis: Redis, clock: Clock
    ) -> None:
        workers, other = components.workers, ModelInfo(name="blip", version="sha256:2")
        workers.announce(Worker(name="w1", model=MODEL))
        clock.advance(900)
        for name in ("w2", "w3"):
            workers.announce(Worker(name=name, model=other))

        assert workers.models(workers.alive()) == [(other, 2), (MODEL, 0)]
        assert [worker.name for worker in workers.with_model("blip")] == ["w2", "w3"]
        assert workers.with_model(MODEL.name) == []
        clock.advance(101)
        assert workers.models(workers.alive()) == [(other, 0)]
        assert redis.hkeys("models") == ["blip"]

    def test_a_worker_that_left_is_not_alive(self, components: Components) -> None:
        workers = components.workers
        workers.announce(Worker(name="w", model=MODEL))

        workers.leave("w")

        assert workers.alive() == []
