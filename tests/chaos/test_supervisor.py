"""`captiond serve` itself is killed: its parts go with it, and the next one begins where they stopped."""

from __future__ import annotations

from pathlib import Path

import psutil

from common.jobs import Status
from common.settings import Settings
from tests.chaos.conftest import LEASE
from tests.support.audit import Account
from tests.support.service import Service, wait_until


def test_a_supervisor_that_is_killed(tmp_path: Path, pictures: list[bytes], undisturbed: dict[str, str]) -> None:
    service = Service(tmp_path / "data", lease_seconds=LEASE, precision="fp32", beams=1).start()
    store = service.data / "redis"
    settings = Settings(data=service.data, redis_url=f"unix://{store / 'redis.sock'}")
    account = Account(service, settings, store)
    account.send(pictures[:200])
    parts: list[psutil.Process] = []
    try:
        for _ in range(2):
            wait_until(lambda: account.look()[Status.PROCESSING], account.look)
            assert service.process is not None
            parts += psutil.Process(service.process.pid).children()
            service.process.kill()
            service.process.wait()
            service.start()
            assert not [part for part in parts if lives(part)]

        outcome = account.close("captiond serve SIGKILLed twice", undisturbed)
        assert outcome.kept and outcome.succeeded == 200
    finally:
        service.stop()
    assert len(parts) == 6


def lives(process: psutil.Process) -> bool:
    """Whether it runs; one that has ended may still stand in the table until its new parent looks."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
