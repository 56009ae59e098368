"""`captiond doctor` reports problems and how to fix them."""

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
from common import exposure
from common.jobs import InputInfo, ModelInfo, new_id
from common.ledger import Claim, Components, NewJob, Worker
from common.ledger.workers import outage
from common.options import CaptionOptions
from common.problems import EMPTY_UPLOAD
from common.settings import Settings
from common.translation import Message
from common.uploads import UploadStore
from tests.support.clock import Clock
from tests.support.model_server import running_stand_in

DURABLE = {"appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction"}
INFO = {"redis_version": "7.0.15", "used_memory": 2_000_000, "maxmemory": 0, "aof_last_write_status": "ok"}
IMAGE = InputInfo(filename="dog.jpg", sha256="d0", bytes=3, format="JPEG", width=4, height=5)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data=tmp_path, redis_url="redis://unused/0")


@pytest.fixture
def redis(monkeypatch: pytest.MonkeyPatch) -> Iterator[Redis]:
    with fakeredis.FakeStrictRedis(decode_responses=True) as client:
        for module in (doctor, exposure):
            monkeypatch.setattr(module, "connect", lambda url: client)
        monkeypatch.setattr(client, "config_get", lambda: DURABLE)
        monkeypatch.setattr(client, "info", lambda: INFO)
        yield client


def findings(settings: Settings) -> dict[str, tuple[bool, str]]:
    """Each finding's `ok` and message, by subject."""
    return {
        finding.subject: (finding.ok, str(finding.message))
        for finding in [*doctor.check_machine(settings), *doctor.check_redis(settings)]
    }


def announce_worker(redis: Redis, settings: Settings) -> None:
    model = ModelInfo(name="demo", version="sha256:1", demo=True)
    Components(redis, settings).workers.announce(Worker(name="host-1", model=model))


def queue_job(redis: Redis, settings: Settings, age: float, model: str | None = None) -> None:
    """Create a job that has been waiting for `age` seconds."""
    options = CaptionOptions(model=model) if model else None
    ledger = Components(redis, settings, lambda: time.time() - age).ledger
    ledger.create(new_id(), NewJob(input=IMAGE, options=options))


def test_exit_code_is_zero_when_every_check_passes(
    redis: Redis, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    announce_worker(redis, settings)

    assert doctor.doctor(settings) == 0
    assert "FAIL" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "ok", "message"),
    [
        ({}, True, "this machine only"),
        ({"host": "0.0.0.0"}, False, "captiond keys add"),
        ({"host": "0.0.0.0", "insecure": True}, True, "anyone who can reach 0.0.0.0"),
        ({"host": "0.0.0.0", "api_keys": f"ci:read:{'0' * 64}"}, True, "only with an API key"),
        ({"api_keys": "captiond_x"}, False, "NAME:SCOPES:SHA256"),
    ],
)
def test_access_is_reported(
    redis: Redis, settings: Settings, changes: dict[str, object], ok: bool, message: str
) -> None:
    found = findings(settings.model_copy(update=changes))["access"]

    assert found[0] is ok
    assert message in found[1]


def test_a_missing_worker_is_reported_with_the_command_to_start_one(
    redis: Redis, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert doctor.doctor(settings) == 1
    assert "Start one with captiond serve" in capsys.readouterr().out


def test_a_redis_without_persistence_fails_the_check(
    redis: Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis, "config_get", lambda: {"appendonly": "no", "maxmemory-policy": "allkeys-lru"})

    found = findings(settings)

    assert found["redis"] == (
        False,
        "7.0.15 answers; append-only file no. Set `appendonly yes`, or a restart loses the waiting jobs.",
    )
    assert not found["eviction"][0] and "noeviction" in found["eviction"][1]


def test_a_redis_that_forbids_config_passes_the_check(
    redis: Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        from redis import ResponseError

        raise ResponseError("unknown command")

    monkeypatch.setattr(redis, "config_get", refuse)

    assert findings(settings)["redis"][0]


def test_an_unreachable_redis_ends_the_checks(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    class Unreachable:
        def ping(self) -> None:
            raise RedisConnectionError("refused")

    monkeypatch.setattr(doctor, "connect", lambda url: Unreachable())

    found = findings(settings)

    assert not found["redis"][0]
    assert "jobs" not in found


@pytest.mark.parametrize(("seconds", "stuck"), [(10, False), (1000, True)])
def test_a_job_that_waits_too_long_fails_the_check(redis: Redis, settings: Settings, seconds: int, stuck: bool) -> None:
    queue_job(redis, settings, seconds)

    ok, message = findings(settings)["waiting"]

    assert ok is not stuck
    assert f"has waited for {seconds // 10}" in message
    assert ("Start more workers" in message) is stuck


def test_a_nearly_full_disk_fails_the_check(redis: Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage(10, 9, 1))

    ok, message = findings(settings)["disk"]

    assert not ok and "507" in message


@pytest.mark.parametrize("below", ["", "a/b"])
def test_an_unusable_data_folder_fails_the_check(redis: Redis, settings: Settings, below: str) -> None:
    file = settings.data / "file"
    file.touch()

    unusable = settings.model_copy(update={"data": file / below, "uploads_url": "memory://uploads"})
    ok, message = findings(unusable)["data"]

    assert findings(settings)["data"][0]
    assert not ok and f"{file} is not a folder" in message


def test_the_configured_model_is_named(redis: Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "PROJECT_ROOT", settings.data)

    assert "is missing" in findings(settings)["model"][1]
    (settings.data / "student_epoch6.pt").write_bytes(b"")
    assert "in the project's root" in findings(settings)["model"][1]
    named = settings.model_copy(update={"model": "mine.pt"})
    assert "mine.pt" in findings(named)["model"][1]


def test_abandoned_webhooks_are_counted_with_the_last_error(redis: Redis, settings: Settings) -> None:
    refused = EMPTY_UPLOAD("It is empty.")
    for _ in range(2):
        Components(redis, settings).ledger.create(
            new_id(), NewJob(error=refused, webhook="https://receiver.example/?token=secret")
        )
    outbox = Components(redis, settings).outbox
    delivery = outbox.claim()
    assert delivery
    outbox.give_up(delivery, "it answered 404")

    message = "1 to be delivered, 1 given up; the last to receiver.example: it answered 404."
    assert findings(settings)["webhooks"] == (True, message)


def test_a_job_that_waits_for_a_model_without_workers_is_reported_as_such(redis: Redis, settings: Settings) -> None:
    announce_worker(redis, settings)
    queue_job(redis, settings, 1000, "blip")

    ok, message = findings(settings)["waiting"]

    assert not ok and message.endswith("has waited for 1000 s. " + str(outage((), "blip")))


@pytest.mark.parametrize(
    ("fsync", "ok", "message"),
    [
        ("always", True, "not even in"),
        ("everysec", True, "the last second"),
        ("no", False, "half a minute"),
    ],
)
def test_the_loss_in_a_power_cut_is_reported(
    redis: Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch, fsync: str, ok: bool, message: str
) -> None:
    monkeypatch.setattr(redis, "config_get", lambda: {**DURABLE, "appendfsync": fsync})

    found = findings(settings)["redis"]

    assert found[0] is ok and message in found[1]


def test_a_failed_redis_write_fails_the_check(
    redis: Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = findings(settings)["writes"]
    monkeypatch.setattr(redis, "info", lambda: {**INFO, "aof_last_write_status": "err"})
    after = findings(settings)["writes"]

    assert before[0] and not after[0]
    assert "free some space" in after[1]


@pytest.mark.parametrize(("limit", "ok"), [(0, True), (10_000_000, True), (2_100_000, False)])
def test_nearly_full_redis_memory_fails_the_check(
    redis: Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch, limit: int, ok: bool
) -> None:
    monkeypatch.setattr(redis, "info", lambda: {**INFO, "maxmemory": limit})

    found = findings(settings)["memory"]

    assert found[0] is ok
    assert ("raise `maxmemory`" in found[1]) is not ok


def test_a_job_held_past_its_lease_is_reported(redis: Redis, settings: Settings) -> None:
    clock = Clock(time.time() - 100)
    ledger = Components(redis, settings, clock).ledger
    job = ledger.create(new_id(), NewJob(input=IMAGE))
    ledger.claim_next(1)
    overdue = findings(settings)["leases"]
    clock.advance(75)
    ledger.extend([Claim(ledger.get(job.id), str(redis.hget(f"job:{job.id}", "_token")))])
    held = findings(settings)["leases"]

    assert not overdue[0] and job.id in overdue[1]
    assert held == (True, "1 jobs are held by workers, 0 of them longer than their lease.")


def test_uploads_without_a_record_fail_the_check_only_when_they_are_the_majority(
    redis: Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploads, ledger = UploadStore(settings.uploads_location), Components(redis, settings).ledger
    uploads.create()
    ids = [new_id() for _ in range(4)]
    for job_id in ids:
        uploads.save(job_id, b"image")
    recent = findings(settings)["pictures"]
    monkeypatch.setattr(doctor, "UPLOAD_GRACE_PERIOD", -1.0)
    all_orphaned = findings(settings)["pictures"]
    for job_id in ids[1:]:
        ledger.create(job_id, NewJob(input=IMAGE))
    one_orphaned = findings(settings)["pictures"]

    assert recent == (True, "4 are stored, each with its job record.")
    assert not all_orphaned[0] and "Does CAPTIOND_REDIS_URL" in all_orphaned[1]
    assert one_orphaned[0] and "1 of them without a job record" in one_orphaned[1]


def test_an_unreachable_upload_store_fails_the_check(
    redis: Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(LocalFileSystem, "ls", refuse)

    ok, message = findings(settings)["pictures"]
    assert not ok
    assert message.startswith("The upload store does not answer: [Errno 13] Permission denied")


def test_the_findings_are_in_the_language_of_the_terminal(
    settings: Settings, redis: Redis, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CAPTIOND_LANGUAGE", "ru")

    doctor.doctor(settings)

    printed = capsys.readouterr().out
    assert "ok    waiting   очередь пуста." in printed
    assert "appendfsync everysec: при отключении питания может пропасть последняя секунда." in printed


def test_the_server_of_a_model_is_asked_for_a_caption(settings: Settings) -> None:
    with running_stand_in(key="sk-secret") as stand_in:
        model = settings.model_copy(update={"model": stand_in.model()})
        refused = findings(model)["model"]
        accepted = findings(model.model_copy(update={"model_key": "sk-secret"}))["model"]

    assert refused == (False, "The model's server refuses the key. Set CAPTIOND_MODEL_KEY.")
    assert accepted == (True, "vlm captions at its server.")


def test_a_worker_whose_model_is_unavailable_fails(redis: Redis, settings: Settings) -> None:
    worker = Worker(name="host-1", model=ModelInfo(name="vlm", version="1"), unavailable=Message("It is busy."))
    Components(redis, settings).workers.announce(worker)

    assert findings(settings)["workers"] == (False, "host-1 claims no job. It is busy.")
