"""Schema migration keeps all jobs, and incompatible versions do not run together."""

from __future__ import annotations

import json

import fakeredis
import pytest
from redis import Redis

from common.jobs import Status, new_id
from common.ledger import Components, Ledger, NewBatch, NewManifest, Principal, SchemaError, Worker, records, schema
from common.ledger.submission import SCHEMA_VERSION
from common.settings import Settings
from tests.support.claims import commit
from tests.support.clock import Clock
from tests.unit.common.ledger.jobs import CAPTION, IMAGE, MODEL, TIMINGS, create_job, must_claim, recover

HOOK = "https://Receiver.example:8443/hook"


class EarlierVersion:
    """Writes records as the version with schema 1 did."""

    def __init__(self, redis: Redis, clock: Clock) -> None:
        self._redis = redis
        self._clock = clock

    def job(self, status: str = "queued", owner: str | None = None, batch: str | None = None, **more: str) -> str:
        job_id, created = new_id(), "2026-11-26T10:00:00.000Z"
        fields: records.Fields = {
            "id": json.dumps(job_id),
            "status": json.dumps(status),
            "input": IMAGE.model_dump_json(),
            "cached": "false",
            "attempts": "0",
            "created_at": json.dumps(created),
            "expires_at": json.dumps("2026-12-03T10:00:00.000Z"),
            "_ring_at": "1795700000.5",
            "_rings": "3",
        }
        fields |= {"_owner": owner} if owner else {}
        fields |= {"batch": json.dumps(batch)} if batch else {}
        self._redis.hset(f"job:{job_id}", mapping=fields | dict(more))
        for scope in ("", f"@{owner}") if owner else ("",):
            self._redis.zadd(f"jobs:{status}{scope}", {job_id: 0})
            self._redis.zadd(f"jobs:all{scope}", {job_id: 0})
        self._redis.zadd("jobs:expiring", {job_id: self._clock() + 1000})
        if batch:
            self._redis.rpush(f"batch-jobs:{batch}", job_id)
        return job_id


@pytest.fixture
def earlier(redis: Redis, clock: Clock) -> EarlierVersion:
    return EarlierVersion(redis, clock)


class TestRecords:
    def test_a_record_contains_the_schema_version(self, ledger: Ledger, redis: Redis) -> None:
        job = create_job(ledger)

        assert redis.hget(f"job:{job.id}", "_schema") == str(SCHEMA_VERSION)

    def test_a_record_keeps_the_fields_of_the_earlier_version(self, ledger: Ledger, redis: Redis) -> None:
        """The earlier version reads fields as JSON and accepts both time formats."""
        claim = must_claim(ledger, create_job(ledger))
        commit(ledger, claim, CAPTION, model=MODEL, timings=TIMINGS)

        members = {
            name: json.loads(value) for name, value in redis.hgetall(f"job:{claim.id}").items() if name[0] != "_"
        }

        assert (members["status"], members["output"]["caption"]) == ("succeeded", "a dog")
        assert members["created_at"] <= members["started_at"] <= members["completed_at"] < members["expires_at"]


class TestMigration:
    def test_waiting_jobs_of_the_earlier_version_are_claimed(
        self, ledger: Ledger, earlier: EarlierVersion, redis: Redis
    ) -> None:
        jobs = [earlier.job(owner="alice"), earlier.job(), earlier.job(batch=new_id())]
        ledger.prepare()

        assert {claim.id for claim in ledger.claim_next(8).claims} == set(jobs)
        assert redis.keys("jobs:*") == []
        assert redis.hget(f"job:{jobs[0]}", "_schema") == str(SCHEMA_VERSION)
        assert not redis.hexists(f"job:{jobs[0]}", "_rings")

    def test_a_claimed_job_of_the_earlier_version_is_requeued_after_its_lease(
        self, ledger: Ledger, earlier: EarlierVersion, redis: Redis, clock: Clock
    ) -> None:
        job_id = earlier.job("processing", attempts="1", _token="t", _lease_until=str(clock() + 5))
        redis.zadd("jobs:leased", {job_id: clock() + 5})
        ledger.prepare()
        before = recover(ledger, redis).waiting
        clock.advance(6)

        assert (before, recover(ledger, redis).waiting) == ({}, {"": 1})
        suspect = ledger.claim_suspect()
        assert suspect and suspect.id == job_id

    def test_ended_jobs_of_the_earlier_version_are_listed_and_expire(
        self, ledger: Ledger, earlier: EarlierVersion, redis: Redis, clock: Clock
    ) -> None:
        done = earlier.job("succeeded", output=CAPTION.model_dump_json())
        ledger.prepare()
        listed, _ = ledger.recent(status=Status.SUCCEEDED)
        clock.advance(1001)

        assert [(job.id, job.output) for job in listed] == [(done, CAPTION)]
        assert recover(ledger, redis).expired == [done]
        ledger.delete(done)
        assert redis.exists(f"job:{done}") == 0

    @pytest.mark.parametrize("sending", [False, True])
    def test_a_migrated_batch_creates_its_event_when_its_jobs_end(
        self, ledger: Ledger, earlier: EarlierVersion, components: Components, redis: Redis, sending: bool
    ) -> None:
        batches, outbox = components.batches, components.outbox
        batches.create(batch := new_id())
        redis.hdel(f"batch:{batch}", "sealed")
        job_id = earlier.job(batch=batch, _webhook=HOOK)
        redis.sadd(f"batch-open:{batch}", job_id, *(["sending"] if sending else []))
        ledger.prepare()
        (claim,) = ledger.claim_next(1).claims
        commit(ledger, claim, CAPTION, model=MODEL, timings=TIMINGS)

        delivery = outbox.claim()
        assert (delivery and (delivery.id, delivery.host)) == (None if sending else (batch, "receiver.example"))
        assert batches.get(batch).request_counts.succeeded == 1

    def test_jobs_written_by_a_running_earlier_web_server_are_migrated(
        self, ledger: Ledger, earlier: EarlierVersion, redis: Redis
    ) -> None:
        ledger.prepare()
        job_id = earlier.job()

        assert recover(ledger, redis).waiting == {"": 1}
        assert [claim.id for claim in ledger.claim_next(1).claims] == [job_id]

    def test_jobs_are_migrated_in_several_steps(
        self, ledger: Ledger, earlier: EarlierVersion, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(schema, "MIGRATION_BATCH_SIZE", 3)
        jobs = [earlier.job() for _ in range(10)]
        ledger.prepare()

        assert [claim.id for claim in ledger.claim_next(20).claims] == jobs


class TestIncompatibleVersions:
    def test_a_newer_schema_is_rejected(self, ledger: Ledger, redis: Redis) -> None:
        redis.set("schema", SCHEMA_VERSION + 1)

        with pytest.raises(
            SchemaError,
            match=f"has schema {SCHEMA_VERSION + 1}, but this version supports schemas up to {SCHEMA_VERSION}",
        ):
            ledger.prepare()

    def test_a_running_worker_of_the_earlier_version_is_rejected(
        self, ledger: Ledger, redis: Redis, clock: Clock, earlier: EarlierVersion, settings: Settings
    ) -> None:
        job_id = earlier.job()
        announced = {"name": "old-1", "model": MODEL.model_dump(), "heard_at": clock()}
        redis.hset("workers", "old-1", json.dumps(announced))
        ledger._settings = settings.model_copy(update={"ready_seconds": 0.01})

        with pytest.raises(SchemaError, match=r"earlier version is running on this Redis: old-1\. Stop all"):
            ledger.prepare()
        assert redis.zrange("jobs:queued", 0, -1) == [job_id]

    @pytest.mark.parametrize("version", [2, 3])
    def test_a_running_worker_that_ignores_options_or_models_is_rejected(
        self, ledger: Ledger, components: Components, settings: Settings, version: int
    ) -> None:
        """Workers with schema 2 would caption without a job's options, those with schema 3 with another model."""
        components.workers.announce(Worker(name="old", model=MODEL, ledger_schema=version))
        ledger._settings = settings.model_copy(update={"ready_seconds": 0.01})

        with pytest.raises(SchemaError, match=r"earlier version is running on this Redis: old\. Stop all"):
            ledger.prepare()

    def test_jobs_without_options_are_claimed_after_an_upgrade(self, ledger: Ledger, redis: Redis) -> None:
        job = create_job(ledger)
        redis.hset(f"job:{job.id}", "_schema", 2)
        redis.set("schema", 2)
        ledger.prepare()

        assert [claim.id for claim in ledger.claim_next(8).claims] == [job.id]
        assert redis.get("schema") == str(SCHEMA_VERSION)

    def test_the_queue_of_the_version_before_is_kept_with_its_turns(
        self, ledger: Ledger, components: Components, redis: Redis
    ) -> None:
        """In schema 3, turns were numbers of claims, and all chunks waited in one sorted set."""
        jobs = [create_job(ledger.for_principal(Principal(owner))).id for owner in ("alice", "bob", "alice", "bob")]
        redis.zadd("turns:interactive", {"alice": 51, "bob": 50})
        redis.delete("turn")
        redis.mset({"schema": 3, "queue:passed": 5})
        components.batches.create(batch := new_id(), NewBatch(manifest=NewManifest("s3://a/b.csv", "s3://a/out")))
        for number in (9, 10):
            redis.hset(f"chunk:{batch}/{number}", "span", "{}")
            redis.zadd("chunks:waiting", {f"{batch}/{number}": 100 + number})
        ledger.prepare()
        late = create_job(ledger.for_principal(Principal("carol"))).id

        claims = ledger.claim_next(8).claims
        chunks = [components.chunks.claim() for _ in range(3)]
        assert [claim.id for claim in claims] == [jobs[1], jobs[0], late, jobs[3], jobs[2]]
        assert [chunk and chunk.id for chunk in chunks] == [f"{batch}/9", f"{batch}/10", None]
        assert redis.exists("queue:passed", "chunks:waiting") == 0

    def test_a_queue_is_upgraded_by_the_recovery_if_redis_was_away_at_the_start(
        self, ledger: Ledger, redis: Redis, server: fakeredis.FakeServer
    ) -> None:
        redis.mset({"schema": 3, "queue:passed": 5})
        server.connected = False
        ledger.prepare()
        server.connected = True
        recover(ledger, redis)

        assert (redis.get("schema"), redis.exists("queue:passed")) == (str(SCHEMA_VERSION), 0)

    def test_a_running_worker_of_this_version_is_accepted(
        self, ledger: Ledger, components: Components, redis: Redis
    ) -> None:
        components.workers.announce(Worker(name="new-1", model=MODEL, ledger_schema=SCHEMA_VERSION))

        ledger.prepare()

        assert redis.get("schema") == str(SCHEMA_VERSION)

    def test_a_process_starts_without_redis(self, ledger: Ledger, server: fakeredis.FakeServer) -> None:
        server.connected = False

        ledger.prepare()
