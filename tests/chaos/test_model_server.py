"""The server of the model fails, is killed, and its worker, too: accepted jobs are captioned, exactly once."""

from __future__ import annotations

import json
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.processes import Process, kill
from captioning.remote import RemoteCaptioner
from cli.serve import free_port
from common.ingest import digest
from common.jobs import Status
from tests.chaos.runs import LARGE_RUN_IMAGES, LEASE_SECONDS
from tests.support.audit import JobAudit
from tests.support.model_server import MODEL, describe
from tests.support.processes import ServiceProcesses
from tests.support.service import wait_until

#: Seconds for which the server is down.
OUTAGE_SECONDS = 5.0


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[ServiceProcesses]:
    model = f"openai:http://127.0.0.1:{free_port()}/v1#{MODEL}"
    running = ServiceProcesses(tmp_path, lease_seconds=LEASE_SECONDS, model=model)
    yield running
    running.stop()


def start_stand_in(processes: ServiceProcesses) -> Process:
    served = processes.settings.served_model
    assert served
    port = served.url.rpartition(":")[2].partition("/")[0]
    return processes.start([sys.executable, "-m", "tests.support.model_server", port])


def requests_of(processes: ServiceProcesses) -> dict[str, int]:
    """The stand-in's number of requests since its start, by their result."""
    served = processes.settings.served_model
    assert served
    with urllib.request.urlopen(f"{served.url}/counts", timeout=10) as response:
        counts: dict[str, int] = json.load(response)
    return counts


def wait_for_captions(audit: JobAudit, number: int) -> None:
    wait_until(lambda: audit.counts()[Status.SUCCEEDED] >= number, audit.counts, timeout=300)


def test_no_job_is_lost_when_server_and_worker_fail(
    processes: ServiceProcesses, images: list[bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    served = processes.settings.served_model
    assert served
    captioner = RemoteCaptioner(served, processes.settings)
    undisturbed = {digest(image): describe(captioner.prepare(image)) for image in images}
    stand_in = start_stand_in(processes)
    _, _, worker = processes.start_all()
    audit, requests = processes.audit(), list[dict[str, int]]()
    audit.send(images)
    for captions in (300, 1000):
        wait_for_captions(audit, captions)
        requests.append(requests_of(processes))
        kill(stand_in)
        time.sleep(OUTAGE_SECONDS)
        assert audit.counts()[Status.PROCESSING] == 0, "the jobs in hand go back"
        stand_in = start_stand_in(processes)
        wait_for_captions(audit, captions + 300)
        kill(worker)
        worker = processes.start_worker()
        processes.wait_for_worker(worker)

    outcome = audit.finish("model server fails and is killed twice, worker killed twice", undisturbed)
    requests.append(requests_of(processes))
    with capsys.disabled():
        print(f"requests at the model's server: {requests}")
    assert outcome.ok and outcome.succeeded == LARGE_RUN_IMAGES
    assert max(job.attempts for job in audit.jobs()) > 1
