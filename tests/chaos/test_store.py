"""The store of uploads is away under load; what was accepted waits for it, and loses no attempt."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import tests.chaos.hooks.flaky_store  # noqa: F401  registers flaky:// for the settings
from tests.chaos.conftest import LEASE
from tests.chaos.test_workers import wait_for_captions
from tests.support.audit import Account
from tests.support.processes import Parts

PICTURES, OUTAGES = 400, 3


def settle(account: Account, run: str, undisturbed: dict[str, str]) -> None:
    """All that was accepted is captioned, at its first attempt."""
    outcome = account.close(run, undisturbed)
    assert outcome.kept and outcome.succeeded == outcome.accepted
    assert {job.attempts for job in account.jobs() if not job.cached} == {1}
    assert set(account.refused) <= {(503, "/problems/uploads-unavailable")}


def test_a_folder_that_is_away(parts: Parts, pictures: list[bytes], undisturbed: dict[str, str]) -> None:
    parts.start_all()
    account = parts.account()
    account.send(pictures[:PICTURES])
    uploads = parts.folder / "uploads"
    for outage in range(OUTAGES):
        wait_for_captions(account, 20)
        uploads.rename(parts.folder / "elsewhere")
        account.offer(pictures[PICTURES + outage])
        time.sleep(2)
        (parts.folder / "elsewhere").rename(uploads)

    assert account.refused.total() == OUTAGES
    settle(account, "folder of the uploads away 3 times", undisturbed)


@pytest.fixture
def trouble(tmp_path: Path) -> Path:
    """The file that says what the store suffers from."""
    path = tmp_path / "trouble"
    path.write_text("", encoding="utf-8")
    return path


@pytest.fixture
def flaky_parts(tmp_path: Path, trouble: Path) -> Iterator[Parts]:
    running = Parts(tmp_path / "parts", lease_seconds=LEASE, uploads_url=f"flaky://{tmp_path}/uploads")
    running.environment["TROUBLE"] = str(trouble)
    yield running
    running.stop()


@pytest.mark.parametrize("what", ["raises", "times out", "answers half"])
def test_an_object_store_in_trouble(
    flaky_parts: Parts, trouble: Path, pictures: list[bytes], undisturbed: dict[str, str], what: str
) -> None:
    flaky_parts.start_redis()
    flaky_parts.start_web("tests.chaos.hooks.flaky_store")
    flaky_parts.start_worker("tests.chaos.hooks.flaky_store")
    flaky_parts.wait_ready()
    account = flaky_parts.account()
    account.send(pictures[:PICTURES])
    for outage in range(OUTAGES):
        wait_for_captions(account, 20)
        trouble.write_text(what, encoding="utf-8")
        account.offer(pictures[PICTURES + outage])
        time.sleep(2)
        trouble.write_text("", encoding="utf-8")

    settle(account, f"object store {what} 3 times", undisturbed)
