"""`captiond doctor` says in plain words what is wrong and what to do."""

from __future__ import annotations

import time
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import fakeredis
import pytest
from fsspec.implementations.local import LocalFileSystem
from redis import ConnectionError as RedisConnectionError
from redis import Redis

from cli import doctor
from common.jobs import InputInfo, ModelInfo, new_id
from common.ledger import Claim, Components, NewJob, Worker
from common.problems import EMPTY_UPLOAD
from common.settings import Settings
from common.uploads import UploadStore
from tests.support.clock import Clock

DURABLE = {"appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction"}
INFO = {"redis_version": "7.0.15", "used_memory": 2_000_000, "maxmemory": 0, "aof_last_write_status": "ok"}
PICTURE = InputInfo(filename="dog.jpg", sha256="d0", bytes=3, format="JPEG", width=4, height=5)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data=tmp_path, redis_url="redis://unused/0")


@pytest.fixture
def redis(monkeypatch: pytest.MonkeyPatch) -> Iterator[Redis]:
    with fakeredis.FakeStrictRedis(decode_responses=True) as client:
        monkeypatch.setattr(doctor, "connect", lambda url: client)
        monkeypatch.setattr(client, "config_get", lambda: DURABLE)
        monkeypatch.setattr(client, "info", lambda: INFO)
        yield client


def findings(settings: Settings) -> dict[str, tuple[bool, str]]:
    found: dict[str, tuple[bool, str]] = {}
    for finding in [*doctor.look_around(settings), *doctor.look_at_redis(settings)]:
        found[finding.subject] = (finding.well, finding.words)
    return found


def announce(redis: Redis, settings: Settings) -> None:
    model = ModelInfo(name="demo", version="sha256:1", demo=True)
    Components(redis, settings).workers.announce(Worker(name="host-1", model=model))


def wait_since(redis: Redis, settings: Settings, seconds: float) -> None:
    Components(redis, settings, lambda: time.time() - seconds).ledger.create(new_id(), NewJob(input=PICTURE))


def test_all_well_exits_with_zero(redis: Redis, settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    announce(redis, settings)

    assert doctor.doctor(settings) == 0
    assert "LOOK" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("told", "well", "words"),
    [
        ({}, True, "this machine only"),
        ({"host": "0.0.0.0"}, False, "captiond keys add"),
        ({"host": "0.0.0.0", "insecure": True}, True, "whoever reaches 0.0.0.0"),
        ({"host": "0.0.0.0", "api_keys": f"ci:read:{'0' * 64}"}, True, "only with an API key"),
        ({"api_keys": "captiond_x"}, False, "NAME:SCOPES:SHA256"),
    ],
)
def test_who_may_use_the_service_is_said(
    redis: Redis, settings: Settings, told: dict[str, object], well: bool, words: str
) -> None:
    found = findings(settings.model_copy(update=told))["access"]

    assert found[0] is well
    assert words in found[1]


def test_a_silent_worker_is_said_with_what_to_do(
    redis: Redis, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert doctor.doctor(settings) == 1
    assert "Start one with captiond serve" in capsys.readouterr().out


def test_a_redis_that_forgets_is_said(redis: Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis, "config_get", lambda: {"appendonly": "no", "maxmemory-policy": "allkeys-lru"})

    found = findings(settings)

    assert found["redis"] == (
        False,
        "7.0.15 answers; append-only file no. Set `appendonly yes`, or a restart loses the jobs that wait.",
    )
    assert not found["eviction"][0] and "noeviction" in found["eviction"][1]


def test_a_redis_that_keeps_its_configuration_to_itself_is_no_fault(
    redis: Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        from redis import ResponseError

        raise ResponseError("unknown command")

    monkeypatch.setattr(redis, "config_get", refuse)

    assert findings(settings)["redis"][0]


def test_a_redis_that_does_not_answer_ends_the_look(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    class Away:
        def ping(self) -> None:
            raise RedisConnectionError("refused")

    monkeypatch.setattr(doctor, "connect", lambda url: Away())

    found = findings(settings)

    assert not found["redis"][0]
    assert "jobs" not in found


@pytest.mark.parametrize(("seconds", "stuck"), [(10, False), (1000, True)])
def test_a_job_that_waits_for_long_is_stuck(redis: Redis, settings: Settings, seconds: int, stuck: bool) -> None:
    wait_since(redis, settings, seconds)

    well, words = findings(settings)["waiting"]

    assert well is not stuck
    assert f"has waited for {seconds // 10}" in words
    assert ("Start more workers" in words) is stuck


def test_a_disk_that_runs_full_is_said(redis: Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage(10, 9, 1))

    well, words = findings(settings)["disk"]

    assert not well and "507" in words


@pytest.mark.parametrize("below", ["", "a/b"])
def test_a_data_folder_that_cannot_be_used_is_said(redis: Redis, settings: Settings, below: str) -> None:
    file = settings.data / "file"
    file.touch()

    well, words = findings(settings.model_copy(update={"data": file / below, "uploads_url": "memory://pictures"}))[
        "data"
    ]

    assert findings(settings)["data"][0]
    assert not well and f"{file} is not a folder" in words


def test_the_model_that_would_caption_is_named(
    redis: Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "PROJECT_ROOT", settings.data)

    assert "is not here" in findings(settings)["model"][1]
    (settings.data / "student_epoch6.pt").write_bytes(b"")
    assert "in the project's root" in findings(settings)["model"][1]
    named = settings.model_copy(update={"model": "mine.pt"})
    assert "mine.pt" in findings(named)["model"][1]


def test_webhooks_that_were_given_up_are_told_of(redis: Redis, settings: Settings) -> None:
    refused = EMPTY_UPLOAD("It is empty.")
    for _ in range(2):
        Components(redis, settings).ledger.create(
            new_id(), NewJob(error=refused, webhook="https://receiver.example/?token=secret")
        )
    outbox = Components(redis, settings).outbox
    delivery = outbox.claim()
    assert delivery
    outbox.give_up(delivery, "it answered 404")

    words = "1 to be delivered, 1 given up; the last to receiver.example: it answered 404."
    assert findings(settings)["webhooks"] == (True, words)


@pytest.mark.parametrize(
    ("fsync", "well", "words"),
    [
        ("always", True, "not even in"),
        ("everysec", True, "the last second"),
        ("no", False, "half a minute"),
    ],
)
def test_what_a_power_cut_would_cost_is_said(
    redis: Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch, fsync: str, well: bool, words: str
) -> None:
    monkeypatch.setattr(redis, "config_get", lambda: {**DURABLE, "appendfsync": fsync})

    found = findings(settings)["redis"]

    assert found[0] is well and words in found[1]


def test_a_redis_that_cannot_write_is_said(redis: Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    before = findings(settings)["writes"]
    monkeypatch.setattr(redis, "info", lambda: {**INFO, "aof_last_write_status": "err"})
    after = findings(settings)["writes"]

    assert before[0] and not after[0]
    assert "make room" in after[1]


@pytest.mark.parametrize(("most", "well"), [(0, True), (10_000_000, True), (2_100_000, False)])
def test_a_memory_that_runs_full_is_said(
    redis: Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch, most: int, well: bool
) -> None:
    monkeypatch.setattr(redis, "info", lambda: {**INFO, "maxmemory": most})

    found = findings(settings)["memory"]

    assert found[0] is well
    assert ("raise `maxmemory`" in found[1]) is not well


def test_a_job_held_past_its_lease_is_named(redis: Redis, settings: Settings) -> None:
    clock = Clock(time.time() - 100)
    ledger = Components(redis, settings, clock).ledger
    job = ledger.create(new_id(), NewJob(input=PICTURE))
    ledger.claim_next(1)
    late = findings(settings)["leases"]
    clock.advance(75)
    ledger.extend([Claim(ledger.get(job.id), str(redis.hget(f"job:{job.id}", "_token")))])
    held = findings(settings)["leases"]

    assert not late[0] and job.id in late[1]
    assert held == (True, "1 are held by workers, 0 of them longer than their lease.")


def test_pictures_without_a_record_are_counted_and_many_of_them_mean_the_wrong_redis(
    redis: Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploads, ledger = UploadStore(settings.uploads_location), Components(redis, settings).ledger
    uploads.create()
    ids = [new_id() for _ in range(4)]
    for job_id in ids:
        uploads.save(job_id, b"picture")
    young = findings(settings)["pictures"]
    monkeypatch.setattr(doctor, "ON_ITS_WAY", -1.0)
    all_lost = findings(settings)["pictures"]
    for job_id in ids[1:]:
        ledger.create(job_id, NewJob(input=PICTURE))
    one_lost = findings(settings)["pictures"]

    assert young == (True, "4 are kept, each with its record.")
    assert not all_lost[0] and "Is CAPTIOND_REDIS_URL" in all_lost[1]
    assert one_lost[0] and "1 of them without a record" in one_lost[1]


def test_a_store_of_pictures_that_does_not_answer_is_told(
    redis: Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(LocalFileSystem, "ls", refuse)

    well, words = findings(settings)["pictures"]
    assert not well
    assert words.startswith("The store of the uploaded pictures does not answer: [Errno 13] Permission denied")
