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
from tests.support.podman import build, inspect, make_base_image, podman
from tests.support.service import wait_until

COMPOSE: Mapping[str, Any] = yaml.safe_load((PROJECT_ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
#: Keys of a service that need no option of podman: the test builds the images, starts the services in order, and takes
#: their settings from `environment`.
WITHOUT_OPTION = {"build", "depends_on", "env_file"}


class ComposeProject:
    """Containers of the compose file's services on a network of their own, with fixed addresses instead of a DNS."""

    def __init__(self, name: str, environment: Mapping[str, str]) -> None:
        """`environment` has further variables for the containers built from the Dockerfile."""
        self.name = name
        self.ports: dict[str, int] = {}
        self._environment = environment
        self._containers: dict[str, str] = {}  # name -> address
        self._volumes: set[str] = set()
        podman("network", "create", name)
        (network,) = json.loads(podman("network", "inspect", name).stdout)
        self._subnet = network["subnets"][0]["subnet"].rpartition(".")[0]

    def build(self) -> None:
        """Build the images of the services without a profile, on base images from Debian."""
        make_base_image("docker.io/library/python:3.11-slim")
        make_base_image("docker.io/library/redis:8-alpine")
        for service in ("worker", "web"):
            declared = COMPOSE["services"][service]
            build(PROJECT_ROOT, declared["build"]["target"], declared["image"])

    def start(self, service: str, name: str | None = None) -> str:
        """Start a container of a service, and wait until its health check succeeds. Return the container's name."""
        declared = COMPOSE["services"][service]
        container = f"{self.name}-{name or service}"
        address = f"{self._subnet}.{len(self._containers) + 10}"
        hosts = [f"--add-host={other.removeprefix(f'{self.name}-')}:{ip}" for other, ip in self._containers.items()]
        options = [option for key, value in declared.items() for option in self._options(service, key, value)]
        command = shlex.split(declared.get("command", ""))
        self._containers[container] = address
        network = [f"--network={self.name}", f"--ip={address}", *hosts]
        podman("run", "--detach", f"--name={container}", *network, *options, declared["image"], *command)
        wait_until(lambda: self.healthy(container), lambda: self.logs(container))
        return container

    def address(self, container: str) -> str:
        """The IP address of a container, which this machine can reach."""
        return self._containers[container]

    def healthy(self, container: str) -> bool:
        """Whether the container's health check succeeds now."""
        return podman("healthcheck", "run", container, check=False).returncode == 0

    def logs(self, container: str) -> str:
        """The output of a container."""
        result = podman("logs", container, check=False)
        return result.stdout[-3000:] + result.stderr[-3000:]

    def stop(self, container: str) -> int:
        """Stop a container with SIGTERM and the service's grace period; return its exit code."""
        podman("stop", container)
        return int(inspect(container)["State"]["ExitCode"])

    def volume_folder(self, volume: str) -> str:
        """The folder of a volume on this machine."""
        return podman("volume", "inspect", "--format={{.Mountpoint}}", f"{self.name}-{volume}").stdout.strip()

    def remove(self) -> None:
        """Remove containers, volumes and network."""
        for container in self._containers:
            podman("rm", "--force", "--time=0", container, check=False)
        for volume in self._volumes:
            podman("volume", "rm", "--force", volume, check=False)
        podman("network", "rm", "--force", self.name, check=False)

    def _options(self, service: str, key: str, value: Any) -> list[str]:
        """podman's options for one key of a service. Fails for a key that it does not know."""
        match key:
            case "image" | "command":
                return []
            case "restart":
                return [f"--restart={value}"]
            case "environment":
                return [f"--env={name}={text}" for name, text in {**value, **self._environment}.items()]
            case "volumes":
                return [self._volume(volume) for volume in value]
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
            case "ports":
                return [self._port(service, *port.split(":")) for port in value]
            case _:
                assert key in WITHOUT_OPTION, f"{service}.{key}"
                return []

    def _volume(self, volume: str) -> str:
        name = f"{self.name}-{volume}"
        self._volumes.add(name.partition(":")[0])
        return f"--volume={name}"

    def _port(self, service: str, address: str, _host_port: str, container_port: str) -> str:
        """Publish a port, on this machine as a free one."""
        self.ports[service] = free_port()
        return f"--publish={address}:{self.ports[service]}:{container_port}"
