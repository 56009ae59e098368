"""`captiond serve` is killed: its processes end too, and the next start continues their work."""

from __future__ import annotations

from pathlib import Path

import psutil

from common.jobs import Status
from common.settings import Settings
from tests.chaos.runs import LEASE_SECONDS
from tests.support.audit import JobAudit
from tests.support.service import Service, wait_until


def test_jobs_survive_a_killed_supervisor(tmp_path: Path, images: list[bytes], undisturbed: dict[str, str]) -> None:
    service = Service(tmp_path / "data", lease_seconds=LEASE_SECONDS, beams=1).start()
    store = service.data / "redis"
    settings = Settings(data=service.data, redis_url=f"unix://{store / 'redis.sock'}")
    audit = JobAudit(service, settings, store)
    audit.send(images[:200])
    processes: list[psutil.Process] = []
    try:
        for _ in range(2):
            wait_until(lambda: audit.counts()[Status.PROCESSING], audit.counts)
            assert service.process is not None
            processes += psutil.Process(service.process.pid).children()
            service.process.kill()
            service.process.wait()
            service.start()
            assert not [process for process in processes if is_running(process)]

        outcome = audit.finish("captiond serve SIGKILLed twice", undisturbed)
        assert outcome.ok and outcome.succeeded == 200
    finally:
        service.stop()
    assert len(processes) == 6


def is_running(process: psutil.Process) -> bool:
    """Whether the process is running; a zombie is not."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
