"""The upload store is unavailable under load: accepted jobs wait for it without losing an attempt."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import tests.chaos.hooks.flaky_store  # noqa: F401  registers flaky:// for the settings
from tests.chaos.runs import LEASE_SECONDS
from tests.chaos.test_workers import wait_for_captions
from tests.support.audit import JobAudit
from tests.support.processes import ServiceProcesses

IMAGES, OUTAGES = 400, 3


def assert_all_captioned(audit: JobAudit, run: str, undisturbed: dict[str, str]) -> None:
    """Every accepted job is captioned at its first attempt."""
    outcome = audit.finish(run, undisturbed)
    assert outcome.ok and outcome.succeeded == outcome.accepted
    assert {job.attempts for job in audit.jobs() if not job.cached} == {1}
    assert set(audit.refused) <= {(503, "/problems/uploads-unavailable")}


def test_jobs_survive_an_upload_folder_that_is_away(
    processes: ServiceProcesses, images: list[bytes], undisturbed: dict[str, str]
) -> None:
    processes.start_all()
    audit = processes.audit()
    audit.send(images[:IMAGES])
    uploads = processes.folder / "uploads"
    for outage in range(OUTAGES):
        wait_for_captions(audit, 20)
        uploads.rename(processes.folder / "elsewhere")
        audit.submit(images[IMAGES + outage])
        time.sleep(2)
        (processes.folder / "elsewhere").rename(uploads)

    assert audit.refused.total() == OUTAGES
    assert_all_captioned(audit, "folder of the uploads away 3 times", undisturbed)


@pytest.fixture
def fault_file(tmp_path: Path) -> Path:
    """The file that contains the store's current fault."""
    path = tmp_path / "trouble"
    path.write_text("", encoding="utf-8")
    return path


@pytest.fixture
def flaky_processes(tmp_path: Path, fault_file: Path) -> Iterator[ServiceProcesses]:
    running = ServiceProcesses(
        tmp_path / "processes", lease_seconds=LEASE_SECONDS, uploads_url=f"flaky://{tmp_path}/uploads"
    )
    running.environment["TROUBLE"] = str(fault_file)
    yield running
    running.stop()


@pytest.mark.parametrize("fault", ["raises", "times out", "answers half"])
def test_jobs_survive_an_object_store_in_trouble(
    flaky_processes: ServiceProcesses, fault_file: Path, images: list[bytes], undisturbed: dict[str, str], fault: str
) -> None:
    flaky_processes.start_redis()
    flaky_processes.start_web("tests.chaos.hooks.flaky_store")
    flaky_processes.start_worker("tests.chaos.hooks.flaky_store")
    flaky_processes.wait_ready()
    audit = flaky_processes.audit()
    audit.send(images[:IMAGES])
    for outage in range(OUTAGES):
        wait_for_captions(audit, 20)
        fault_file.write_text(fault, encoding="utf-8")
        audit.submit(images[IMAGES + outage])
        time.sleep(2)
        fault_file.write_text("", encoding="utf-8")

    assert_all_captioned(audit, f"object store {fault} 3 times", undisturbed)
