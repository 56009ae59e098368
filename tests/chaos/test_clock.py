"""Clocks jump by an hour: no lease ends by it, no job fails for it. Redis' own cannot be set: libfaketime breaks it."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.files import atomic_write
from tests.chaos.test_workers import wait_for_captions
from tests.support.processes import Parts

LIBRARIES = sorted(Path("/usr").glob("lib*/**/faketime/libfaketimeMT.so.1"))


class Watch:
    """The wall clock of the processes that are started with its environment; the monotonic one goes on undisturbed."""

    def __init__(self, file: Path) -> None:
        if not LIBRARIES:
            pytest.skip("libfaketime is not installed, so no clock can be set.")
        self._file = file
        self.set(0)
        self.environment = {
            "LD_PRELOAD": str(LIBRARIES[0]),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, seconds: int) -> None:
        """So far from the true time."""
        with atomic_write(self._file) as file:
            file.write(f"{seconds:+d}\n".encode())


@pytest.fixture
def watch(tmp_path: Path) -> Watch:
    return Watch(tmp_path / "clock")


def test_the_clock_of_one_worker_and_of_the_web_server_jumps(
    parts: Parts, watch: Watch, pictures: list[bytes], undisturbed: dict[str, str]
) -> None:
    parts.start_redis()
    parts.start_worker()
    parts.environment.update(watch.environment)
    parts.start_web()
    parts.wait_working(parts.start_worker())
    parts.wait_ready()
    account = parts.account()
    account.send(pictures[:150])
    for first, seconds in ((150, 3600), (200, -3600), (250, 0)):
        wait_for_captions(account, 40)
        watch.set(seconds)
        account.send(pictures[first : first + 50])

    outcome = account.close("clock of a worker and the web server + 1 h, - 1 h", undisturbed)
    assert outcome.kept and outcome.succeeded == 300
