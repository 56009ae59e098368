"""The upload store is unavailable under load: accepted jobs wait for it without losing an attempt."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import tests.chaos.hooks.flaky_store  # noqa: F401  registers flaky:// for the settings
from tests.chaos.conftest import LEASE_SECONDS
from tests.chaos.test_workers import wait_for_captions
from tests.support.audit import Account
from tests.support.processes import Parts

IMAGES, OUTAGES = 400, 3


def assert_all_captioned(account: Account, run: str, undisturbed: dict[str, str]) -> None:
    """Every accepted job is captioned at its first attempt."""
    outcome = account.close(run, undisturbed)
    assert outcome.kept and outcome.succeeded == outcome.accepted
    assert {job.attempts for job in account.jobs() if not job.cached} == {1}
    assert set(account.refused) <= {(503, "/problems/uploads-unavailable")}


def test_jobs_survive_an_upload_folder_that_is_away(
    parts: Parts, images: list[bytes], undisturbed: dict[str, str]
) -> None:
    parts.start_all()
    account = parts.account()
    account.send(images[:IMAGES])
    uploads = parts.folder / "uploads"
    for outage in range(OUTAGES):
        wait_for_captions(account, 20)
        uploads.rename(parts.folder / "elsewhere")
        account.offer(images[IMAGES + outage])
        time.sleep(2)
        (parts.folder / "elsewhere").rename(uploads)

    assert account.refused.total() == OUTAGES
    assert_all_captioned(account, "folder of the uploads away 3 times", undisturbed)


@pytest.fixture
def fault_file(tmp_path: Path) -> Path:
    """The file that contains the store's current fault."""
    path = tmp_path / "trouble"
    path.write_text("", encoding="utf-8")
    return path


@pytest.fixture
def flaky_parts(tmp_path: Path, fault_file: Path) -> Iterator[Parts]:
    running = Parts(tmp_path / "parts", lease_seconds=LEASE_SECONDS, uploads_url=f"flaky://{tmp_path}/uploads")
    running.environment["TROUBLE"] = str(fault_file)
    yield running
    running.stop()


@pytest.mark.parametrize("fault", ["raises", "times out", "answers half"])
def test_jobs_survive_an_object_store_in_trouble(
    flaky_parts: Parts, fault_file: Path, images: list[bytes], undisturbed: dict[str, str], fault: str
) -> None:
    flaky_parts.start_redis()
    flaky_parts.start_web("tests.chaos.hooks.flaky_store")
    flaky_parts.start_worker("tests.chaos.hooks.flaky_store")
    flaky_parts.wait_ready()
    account = flaky_parts.account()
    account.send(images[:IMAGES])
    for outage in range(OUTAGES):
        wait_for_captions(account, 20)
        fault_file.write_text(fault, encoding="utf-8")
        account.offer(images[IMAGES + outage])
        time.sleep(2)
        fault_file.write_text("", encoding="utf-8")

    assert_all_captioned(account, f"object store {fault} 3 times", undisturbed)
