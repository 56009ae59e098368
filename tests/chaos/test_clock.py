"""Clock jumps of an hour end no lease and fail no job. The clock of Redis is not set, as libfaketime breaks Redis."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.files import atomic_write
from tests.chaos.test_workers import wait_for_captions
from tests.support.processes import ServiceProcesses

LIBRARIES = sorted(Path("/usr").glob("lib*/**/faketime/libfaketimeMT.so.1"))


class FakeClock:
    """Sets the wall clock, but not the monotonic clock, of processes started with its environment."""

    def __init__(self, file: Path) -> None:
        if not LIBRARIES:
            pytest.skip("libfaketime is not installed, so clocks cannot be set.")
        self._file = file
        self.set(0)
        self.environment = {
            "LD_PRELOAD": str(LIBRARIES[0]),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, seconds: int) -> None:
        """Set the offset from the real time."""
        with atomic_write(self._file) as file:
            file.write(f"{seconds:+d}\n".encode())


@pytest.fixture
def fake_clock(tmp_path: Path) -> FakeClock:
    return FakeClock(tmp_path / "clock")


def test_jobs_survive_clock_jumps_of_one_worker_and_the_web_server(
    processes: ServiceProcesses, fake_clock: FakeClock, images: list[bytes], undisturbed: dict[str, str]
) -> None:
    processes.start_redis()
    processes.start_worker()
    processes.environment.update(fake_clock.environment)
    processes.start_web()
    processes.wait_for_worker(processes.start_worker())
    processes.wait_ready()
    audit = processes.audit()
    audit.send(images[:150])
    for first, seconds in ((150, 3600), (200, -3600), (250, 0)):
        wait_for_captions(audit, 40)
        fake_clock.set(seconds)
        audit.send(images[first : first + 50])

    outcome = audit.finish("clock of a worker and the web server + 1 h, - 1 h", undisturbed)
    assert outcome.ok and outcome.succeeded == 300
