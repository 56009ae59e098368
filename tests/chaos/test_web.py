"""The web server is killed before it notifies, or its disk is full: recorded jobs are captioned, others not stored."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.runs import LEASE_SECONDS
from tests.support.processes import ServiceProcesses
from tests.support.service import wait_until


def test_jobs_survive_a_web_server_killed_between_record_and_notification(
    processes: ServiceProcesses, images: list[bytes], undisturbed: dict[str, str]
) -> None:
    processes.start_redis()
    audit = processes.audit()
    for image in images[:5]:
        web = processes.start_web("tests.chaos.hooks.killed_web")
        processes.wait_for_web()
        assert audit.submit(image) == (0, {})
        assert web.wait(60) == -9
    processes.start_web()
    processes.start_worker()
    processes.wait_ready()
    audit.include_all_jobs()

    outcome = audit.finish("web server killed between record and notification", undisturbed)
    assert outcome.ok and outcome.succeeded == 5


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
    processes = ServiceProcesses(
        tmp_path / "processes", lease_seconds=LEASE_SECONDS, uploads_url=f"file://{disk}/uploads"
    )
    try:
        processes.start_all()
        audit = processes.audit()
        audit.send(images[:20])
        filler = fill(disk)
        for image in images[20:30]:
            audit.submit(image)
        wait_until(audit.settled, audit.counts)
        filler.unlink()
        audit.send(images[20:40])

        outcome = audit.finish("disk of the uploads full", undisturbed)
        assert outcome.ok and outcome.succeeded == 40
        assert dict(audit.refused) == {(507, "/problems/storage-full"): 10}
        stored = {path.name for path in (disk / "uploads").rglob("*") if path.is_file()}
        assert stored == set(audit.accepted)
    finally:
        processes.stop()
