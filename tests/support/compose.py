"""Runs services of docker-compose.yml with podman."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

import yaml

from cli.serve import free_port
from common import strict_json
from common.settings import PROJECT_ROOT
from tests.support.podman import Container, build, make_base_image, podman
from tests.support.service import wait_until

COMPOSE: Mapping[str, Any] = yaml.safe_load((PROJECT_ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
#: Keys of a service that say nothing about the container itself: the tests build the images, start the services in
#: order, take their settings from `environment`, and choose volumes and ports.
WITHOUT_OPTION = {"image", "command", "build", "depends_on", "env_file", "volumes", "ports"}


def build_images() -> dict[str, str]:
    """Build the images of the services without a profile, on base images from Debian. Return their ids by service."""
    make_base_image("docker.io/library/python:3.11-slim")
    make_base_image("docker.io/library/redis:8-alpine")
    images = {"redis": COMPOSE["services"]["redis"]["image"]}
    for service in ("worker", "web"):
        declared = COMPOSE["services"][service]
        images[service] = build(PROJECT_ROOT, declared["build"]["target"], declared["image"])
    return images


def options(service: str, environment: Mapping[str, str]) -> list[str]:
    """podman's options for a container of a service, without volumes and network.

    `environment` has further variables for the containers built from the Dockerfile. Fails for a key of the service
    that is unknown here.
    """
    declared = COMPOSE["services"][service]
    return [option for key, value in declared.items() for option in _options(key, value, environment)]


def _options(key: str, value: Any, environment: Mapping[str, str]) -> list[str]:
    match key:
        case "restart":
            return [f"--restart={value}"]
        case "environment":
            return [f"--env={name}={text}" for name, text in {**value, **environment}.items()]
        case "read_only":
            return ["--read-only", "--read-only-tmpfs=false"] if value else []
        case "tmpfs":
            return [f"--tmpfs={value}"]
        case "cap_drop":
            return [f"--cap-drop={capability}" for capability in value]
        case "security_opt":
            return [f"--security-opt={option.removesuffix(':true')}" for option in value]
        case "stop_grace_period":
            return [f"--stop-timeout={value.removesuffix('s')}"]
        case "healthcheck":
            kind, *command = value["test"]
            assert kind == "CMD"
            return [f"--health-cmd={strict_json.dumps(command)}"]
        case _:
            assert key in WITHOUT_OPTION, key
            return []


class ComposeProject:
    """Containers of the compose file's services on a network of their own, with fixed addresses instead of a DNS.

    `images` are those of `build_images`. `environment` has further variables for the containers built from the
    Dockerfile. `addresses` has the containers' IP addresses, which this machine can reach, and `ports` the published
    ports.
    """

    def __init__(self, name: str, images: Mapping[str, str], environment: Mapping[str, str]) -> None:
        self.name, self.images = name, images
        self.addresses: dict[str, str] = {}
        self.ports: dict[str, int] = {}
        self._environment = environment
        self._containers: list[Container] = []
        self._volumes: set[str] = set()
        podman("network", "create", name)
        (network,) = json.loads(podman("network", "inspect", name).stdout)
        self._subnet = network["subnets"][0]["subnet"].rpartition(".")[0]

    def start(self, service: str, name: str | None = None) -> Container:
        """Start a container of a service, and wait until its health check succeeds."""
        declared = COMPOSE["services"][service]
        name = name or service
        hosts = [f"--add-host={other}:{address}" for other, address in self.addresses.items()]
        self.addresses[name] = f"{self._subnet}.{len(self.addresses) + 10}"
        container = Container(
            f"{self.name}-{name}",
            f"--network={self.name}",
            f"--ip={self.addresses[name]}",
            *hosts,
            *options(service, self._environment),
            *(self._volume(volume) for volume in declared.get("volumes", ())),
            *(self._port(service, *port.split(":")) for port in declared.get("ports", ())),
            self.images[service],
            *shlex.split(declared.get("command", "")),
        )
        self._containers.append(container)
        container.start()
        wait_until(container.healthy, container.logs)
        return container

    def volume_folder(self, volume: str) -> str:
        """The folder of a volume on this machine."""
        return podman("volume", "inspect", "--format={{.Mountpoint}}", f"{self.name}-{volume}").stdout.strip()

    def remove(self) -> None:
        """Remove containers, volumes and network."""
        for container in self._containers:
            container.remove()
        for volume in self._volumes:
            podman("volume", "rm", "--force", volume, check=False)
        podman("network", "rm", "--force", self.name, check=False)

    def _volume(self, volume: str) -> str:
        name = f"{self.name}-{volume}"
        self._volumes.add(name.partition(":")[0])
        return f"--volume={name}"

    def _port(self, service: str, address: str, _host_port: str, container_port: str) -> str:
        """Publish a port, on this machine as a free one."""
        self.ports[service] = free_port()
        return f"--publish={address}:{self.ports[service]}:{container_port}"
