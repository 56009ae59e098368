"""Webhooks of the real service: signed as documented, and not lost with the worker that had to send them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.serve import free_port
from common.ledger import Components, connect
from common.settings import PROJECT_ROOT
from tests.support.images import numbered
from tests.support.processes import ServiceProcesses, kill
from tests.support.receiver import running_receiver, with_status
from tests.support.service import wait_until


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[ServiceProcesses]:
    running = ServiceProcesses(tmp_path, allow_local_urls=True)
    yield running
    running.stop()


@pytest.fixture
def check() -> Callable[..., None]:
    """The lines of docs/api.md that check a signature."""
    found = re.search(r"```python\n(import base64.*?)```", (PROJECT_ROOT / "docs/api.md").read_text("utf-8"), re.DOTALL)
    assert found
    names: dict[str, Any] = {}
    exec(found[1], names)
    return names["check"]  # type: ignore[no-any-return]


def test_a_webhook_outlives_the_worker_that_is_killed_before_it_is_delivered(
    processes: ServiceProcesses, check: Callable[..., None]
) -> None:
    port = free_port()
    _, _, worker = processes.start_all()
    headers = {"Webhook-URL": f"http://127.0.0.1:{port}/hook"}
    job = processes.post_image(numbered(1)[0], **headers, Prefer="wait=60")[1]
    assert job["status"] == "succeeded"
    outbox = Components(connect(processes.settings.redis_location), processes.settings).outbox
    kill(worker)
    assert outbox.standing().waiting == 1

    with running_receiver(with_status(500), with_status(204), port=port) as receiver:
        processes.start_worker()
        wait_until(lambda: outbox.standing().waiting == 0, processes.log)

        refused, taken = receiver.requests
        assert refused.headers["webhook-id"] == taken.headers["webhook-id"] == job["id"]
        (secret,) = outbox.secrets()
        check(secret, taken.headers, taken.body)
        with pytest.raises(ValueError, match="Not from the service"):
            check(secret, taken.headers, taken.body + b" ")
        event = json.loads(taken.body)
        assert event["type"] == "job.succeeded"
        assert event["data"]["output"] == processes.get(f"/v1/jobs/{job['id']}")[1]["output"]
