"""The store of uploads is away under load; what was accepted waits for it, and loses no attempt."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import tests.chaos.hooks.flaky_store  # noqa: F401  registers flaky:// for the settings
from tests.chaos.runs import LEASE
from tests.chaos.test_workers import wait_for_captions
from tests.support.audit import JobAudit
from tests.support.processes import ServiceProcesses

PICTURES, OUTAGES = 400, 3


def settle(audit: JobAudit, run: str, undisturbed: dict[str, str]) -> None:
    """All that was accepted is captioned, at its first attempt."""
    outcome = audit.finish(run, undisturbed)
    assert outcome.ok and outcome.succeeded == outcome.accepted
    assert {job.attempts for job in audit.jobs() if not job.cached} == {1}
    assert set(audit.refused) <= {(503, "/problems/uploads-unavailable")}


def test_a_folder_that_is_away(processes: ServiceProcesses, pictures: list[bytes], undisturbed: dict[str, str]) -> None:
    processes.start_all()
    audit = processes.audit()
    audit.send(pictures[:PICTURES])
    uploads = processes.folder / "uploads"
    for outage in range(OUTAGES):
        wait_for_captions(audit, 20)
        uploads.rename(processes.folder / "elsewhere")
        audit.submit(pictures[PICTURES + outage])
        time.sleep(2)
        (processes.folder / "elsewhere").rename(uploads)

    assert audit.refused.total() == OUTAGES
    settle(audit, "folder of the uploads away 3 times", undisturbed)


@pytest.fixture
def trouble(tmp_path: Path) -> Path:
    """The file that says what the store suffers from."""
    path = tmp_path / "trouble"
    path.write_text("", encoding="utf-8")
    return path


@pytest.fixture
def flaky_processes(tmp_path: Path, trouble: Path) -> Iterator[ServiceProcesses]:
    running = ServiceProcesses(tmp_path / "processes", lease_seconds=LEASE, uploads_url=f"flaky://{tmp_path}/uploads")
    running.environment["TROUBLE"] = str(trouble)
    yield running
    running.stop()


@pytest.mark.parametrize("what", ["raises", "times out", "answers half"])
def test_an_object_store_in_trouble(
    flaky_processes: ServiceProcesses, trouble: Path, pictures: list[bytes], undisturbed: dict[str, str], what: str
) -> None:
    flaky_processes.start_redis()
    flaky_processes.start_web("tests.chaos.hooks.flaky_store")
    flaky_processes.start_worker("tests.chaos.hooks.flaky_store")
    flaky_processes.wait_ready()
    audit = flaky_processes.audit()
    audit.send(pictures[:PICTURES])
    for outage in range(OUTAGES):
        wait_for_captions(audit, 20)
        trouble.write_text(what, encoding="utf-8")
        audit.submit(pictures[PICTURES + outage])
        time.sleep(2)
        trouble.write_text("", encoding="utf-8")

    settle(audit, f"object store {what} 3 times", undisturbed)
