"""The web server is killed before it notifies, or its disk is full: recorded jobs are captioned, others not stored."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.conftest import LEASE_SECONDS
from tests.support.processes import Parts
from tests.support.service import wait_until


def test_jobs_survive_a_web_server_killed_between_record_and_notification(
    parts: Parts, images: list[bytes], undisturbed: dict[str, str]
) -> None:
    parts.start_redis()
    account = parts.account()
    for image in images[:5]:
        web = parts.start_web("tests.chaos.hooks.killed_web")
        parts.wait_serving()
        assert account.offer(image) == (0, {})
        assert web.wait(60) == -9
    parts.start_web()
    parts.start_worker()
    parts.wait_ready()
    account.take_all()

    outcome = account.close("web server killed between record and notification", undisturbed)
    assert outcome.kept and outcome.succeeded == 5


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A 2 MB file system."""
    yield from small_disk(tmp_path / "disk", "2m")


def small_disk(mount_point: Path, size: str) -> Iterator[Path]:
    mount_point.mkdir(exist_ok=True)
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", mount_point]).returncode:
        pytest.skip("Only root can mount a small file system.")
    yield mount_point
    subprocess.run(["umount", "-l", mount_point], check=True)


def fill(disk: Path) -> Path:
    """Fill the disk with one file; returns its path, to be removed."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return filler


def test_jobs_survive_uploads_on_a_full_disk(
    tmp_path: Path, disk: Path, images: list[bytes], undisturbed: dict[str, str]
) -> None:
    parts = Parts(tmp_path / "parts", lease_seconds=LEASE_SECONDS, uploads_url=f"file://{disk}/uploads")
    try:
        parts.start_all()
        account = parts.account()
        account.send(images[:20])
        filler = fill(disk)
        for image in images[20:30]:
            account.offer(image)
        wait_until(account.settled, account.look)
        filler.unlink()
        account.send(images[20:40])

        outcome = account.close("disk of the uploads full", undisturbed)
        assert outcome.kept and outcome.succeeded == 40
        assert dict(account.refused) == {(507, "/problems/storage-full"): 10}
        stored = {path.name for path in (disk / "uploads").rglob("*") if path.is_file()}
        assert stored == set(account.accepted)
    finally:
        parts.stop()
