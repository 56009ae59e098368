"""The worker is killed while it unpacks an archive: each of its pictures gets one job and one caption."""

from __future__ import annotations

import random
import time
import urllib.request

from benchmarks.processes import kill
from tests.chaos.test_workers import wait_for_captions
from tests.support.archives import zipped
from tests.support.processes import ServiceProcesses
from tests.support.service import wait_until

#: Pictures of the archive, and number of kills while it is unpacked.
PICTURES, KILLS = 500, 5


def test_an_archive_survives_workers_killed_while_they_unpack(
    processes: ServiceProcesses, images: list[bytes], undisturbed: dict[str, str]
) -> None:
    files = {f"{number // 100}/{number}.png": image for number, image in enumerate(images[:PICTURES])}
    _, _, worker = processes.start_all()
    audit, rng = processes.audit(), random.Random(1)
    request = urllib.request.Request(
        f"{processes.url}/v1/batches", data=zipped(files), headers={"Content-Type": "application/zip"}
    )
    status, batch = processes.send(request)
    assert status == 202

    def current() -> dict[str, object]:
        return dict(processes.get(batch["urls"]["self"])[1])

    def unpacked() -> int:
        counts = current()["request_counts"]
        assert isinstance(counts, dict)
        return int(counts["total"])

    killed_at: list[int] = []
    for _ in range(KILLS):
        # More than at the last kill: an archive fails whose workers are lost three times before they record a job.
        goal = (killed_at[-1] if killed_at else 0) + PICTURES // 25
        wait_until(lambda goal=goal: unpacked() >= goal, processes.log)
        time.sleep(rng.uniform(0, 0.1))
        kill(worker)
        killed_at.append(unpacked())
        worker = processes.start_worker()
        processes.wait_for_worker(worker)
    wait_until(lambda: current()["archive"]["status"] == "done", processes.log, 600)  # type: ignore[index]
    audit.include_all_jobs()
    wait_for_captions(audit, 1)

    outcome = audit.finish(f"worker SIGKILLed {KILLS} times while it unpacks an archive", undisturbed)
    assert outcome.ok and outcome.succeeded == PICTURES
    assert sorted(str(job.custom_id) for job in audit.jobs()) == sorted(files)
    assert 0 < killed_at[0] < killed_at[-1] < PICTURES
    stored = {path.name for path in (processes.folder / "uploads").rglob("*") if path.is_file()}
    assert stored >= set(audit.accepted)
    assert len(stored) <= PICTURES + KILLS  # a killed worker may leave one image without a record
