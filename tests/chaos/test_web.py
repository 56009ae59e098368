"""The web server is killed at its weakest moment, or has no room: what was recorded is captioned, the rest not kept."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.conftest import LEASE
from tests.support.processes import Parts
from tests.support.service import wait_until


def test_a_web_server_that_is_killed_between_record_and_notification(
    parts: Parts, pictures: list[bytes], undisturbed: dict[str, str]
) -> None:
    parts.start_redis()
    account = parts.account()
    for picture in pictures[:5]:
        web = parts.start_web("tests.chaos.hooks.killed_web")
        parts.wait_serving()
        assert account.offer(picture) == (0, {})
        assert web.wait(60) == -9
    parts.start_web()
    parts.start_worker()
    parts.wait_ready()
    account.take_all()

    outcome = account.close("web server killed between record and notification", undisturbed)
    assert outcome.kept and outcome.succeeded == 5


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of two megabytes."""
    yield from small_disk(tmp_path / "disk", "2m")


def small_disk(place: Path, size: str) -> Iterator[Path]:
    place.mkdir(exist_ok=True)
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place]).returncode:
        pytest.skip("A small disk can only be made by root, with mount.")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def fill(disk: Path) -> Path:
    """A file that takes all room; remove it to make some again."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return filler


def test_uploads_on_a_full_disk(tmp_path: Path, disk: Path, pictures: list[bytes], undisturbed: dict[str, str]) -> None:
    parts = Parts(tmp_path / "parts", lease_seconds=LEASE, uploads_url=f"file://{disk}/uploads")
    try:
        parts.start_all()
        account = parts.account()
        account.send(pictures[:20])
        filler = fill(disk)
        for picture in pictures[20:30]:
            account.offer(picture)
        wait_until(account.settled, account.look)
        filler.unlink()
        account.send(pictures[20:40])

        outcome = account.close("disk of the uploads full", undisturbed)
        assert outcome.kept and outcome.succeeded == 40
        assert dict(account.refused) == {(507, "/problems/storage-full"): 10}
        kept = {path.name for path in (disk / "uploads").rglob("*") if path.is_file()}
        assert kept == set(account.accepted)
    finally:
        parts.stop()
