"""The web server is killed at its weakest moment, or has no room: what was recorded is captioned, the rest not kept."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.runs import LEASE
from tests.support.processes import ServiceProcesses
from tests.support.service import wait_until


def test_a_web_server_that_is_killed_between_record_and_notification(
    processes: ServiceProcesses, pictures: list[bytes], undisturbed: dict[str, str]
) -> None:
    processes.start_redis()
    audit = processes.audit()
    for picture in pictures[:5]:
        web = processes.start_web("tests.chaos.hooks.killed_web")
        processes.wait_for_web()
        assert audit.submit(picture) == (0, {})
        assert web.wait(60) == -9
    processes.start_web()
    processes.start_worker()
    processes.wait_ready()
    audit.include_all_jobs()

    outcome = audit.finish("web server killed between record and notification", undisturbed)
    assert outcome.ok and outcome.succeeded == 5


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
    processes = ServiceProcesses(tmp_path / "processes", lease_seconds=LEASE, uploads_url=f"file://{disk}/uploads")
    try:
        processes.start_all()
        audit = processes.audit()
        audit.send(pictures[:20])
        filler = fill(disk)
        for picture in pictures[20:30]:
            audit.submit(picture)
        wait_until(audit.settled, audit.counts)
        filler.unlink()
        audit.send(pictures[20:40])

        outcome = audit.finish("disk of the uploads full", undisturbed)
        assert outcome.ok and outcome.succeeded == 40
        assert dict(audit.refused) == {(507, "/problems/storage-full"): 10}
        kept = {path.name for path in (disk / "uploads").rglob("*") if path.is_file()}
        assert kept == set(audit.accepted)
    finally:
        processes.stop()
