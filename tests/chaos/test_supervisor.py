"""`captiond serve` itself is killed: its processes go with it, and the next one begins where they stopped."""

from __future__ import annotations

from pathlib import Path

import psutil

from common.jobs import Status
from common.settings import Settings
from tests.chaos.runs import LEASE
from tests.support.audit import JobAudit
from tests.support.service import Service, wait_until


def test_a_supervisor_that_is_killed(tmp_path: Path, pictures: list[bytes], undisturbed: dict[str, str]) -> None:
    service = Service(tmp_path / "data", lease_seconds=LEASE, precision="fp32", beams=1).start()
    store = service.data / "redis"
    settings = Settings(data=service.data, redis_url=f"unix://{store / 'redis.sock'}")
    audit = JobAudit(service, settings, store)
    audit.send(pictures[:200])
    processes: list[psutil.Process] = []
    try:
        for _ in range(2):
            wait_until(lambda: audit.counts()[Status.PROCESSING], audit.counts)
            assert service.process is not None
            processes += psutil.Process(service.process.pid).children()
            service.process.kill()
            service.process.wait()
            service.start()
            assert not [part for part in processes if lives(part)]

        outcome = audit.finish("captiond serve SIGKILLed twice", undisturbed)
        assert outcome.ok and outcome.succeeded == 200
    finally:
        service.stop()
    assert len(processes) == 6


def lives(process: psutil.Process) -> bool:
    """Whether it runs; one that has ended may still stand in the table until its new parent looks."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
