"""Webhooks of the real service: signed as documented, and delivered although the worker was killed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.processes import kill
from cli.serve import free_port
from common.ledger import Components, connect
from common.settings import PROJECT_ROOT
from tests.support.images import numbered
from tests.support.processes import ServiceProcesses
from tests.support.receiver import running_receiver, with_status
from tests.support.service import wait_until


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[ServiceProcesses]:
    running = ServiceProcesses(tmp_path, allow_local_urls=True)
    yield running
    running.stop()


@pytest.fixture
def check() -> Callable[..., None]:
    """The function of docs/api.md that checks a signature."""
    match = re.search(r"```python\n(import base64.*?)```", (PROJECT_ROOT / "docs/api.md").read_text("utf-8"), re.DOTALL)
    assert match
    namespace: dict[str, Any] = {}
    exec(match[1], namespace)
    return namespace["check"]  # type: ignore[no-any-return]


def test_a_webhook_is_delivered_after_its_worker_was_killed(
    processes: ServiceProcesses, check: Callable[..., None]
) -> None:
    port = free_port()
    _, _, worker = processes.start_all()
    headers = {"Webhook-URL": f"http://127.0.0.1:{port}/hook"}
    job = processes.post_image(numbered(1)[0], **headers, Prefer="wait=60")[1]
    assert job["status"] == "succeeded"
    outbox = Components(connect(processes.settings.redis_location), processes.settings).outbox
    kill(worker)
    assert outbox.status().waiting == 1

    with running_receiver(with_status(500), with_status(204), port=port) as receiver:
        processes.start_worker()
        wait_until(lambda: outbox.status().waiting == 0, processes.log)

        first, second = receiver.requests
        assert first.headers["webhook-id"] == second.headers["webhook-id"] == job["id"]
        (secret,) = outbox.secrets()
        check(secret, second.headers, second.body)
        with pytest.raises(ValueError, match="Not from the service"):
            check(secret, second.headers, second.body + b" ")
        event = json.loads(second.body)
        assert event["type"] == "job.succeeded"
        assert event["data"]["output"] == processes.get(f"/v1/jobs/{job['id']}")[1]["output"]
