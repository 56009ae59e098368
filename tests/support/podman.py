"""Builds images with buildah and runs containers with podman, without a registry: base images are made from Debian.

Images and containers are kept in a storage of their own below `STORAGE`, so that a second run finds the base images and
the layers of the first. Several checkouts may use it at the same time.
"""

from __future__ import annotations

import io
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from configparser import ConfigParser
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from common import strict_json
from common.files import atomic_write
from tests.support.service import wait_until

#: Folder of the images, the containers and the configuration of both programs.
STORAGE = Path("/var/tmp/captiond-containers")
PROGRAMS = ("podman", "buildah", "runc", "mmdebstrap")
#: Largest number of open files and of processes in a container, if the limits of the shell are not lower.
MAX_FILES, MAX_PROCESSES = 1024, 8000
#: The base images by the names that the Dockerfile and the compose file use: Debian packages, and instructions.
BASE_IMAGES: Mapping[str, tuple[str, str]] = {
    # Debian's Python is named python3, and does not let pip install packages outside of virtual environments.
    "docker.io/library/python:3.11-slim": (
        "python3,python3-pip,python3-venv",
        "RUN ln -s python3 /usr/bin/python && rm -f /usr/lib/python3*/EXTERNALLY-MANAGED",
    ),
    # Like the Redis of the official image, it accepts connections from other containers.
    "docker.io/library/redis:8-alpine": (
        "redis-server,redis-tools",
        "RUN printf '#!/bin/sh\\nexec /usr/bin/redis-server \"$@\" --protected-mode no\\n' "
        "> /usr/local/bin/redis-server && chmod +x /usr/local/bin/redis-server\nWORKDIR /data",
    ),
}


@cache
def obstacle(*further: str) -> str:
    """Why containers cannot run here, or which of the `further` programs is missing; empty if all is there."""
    missing = [program for program in (*PROGRAMS, *further) if shutil.which(program) is None]
    if missing:
        return f"needs {', '.join(missing)} (script/test --slow installs them if it runs as root on Debian)"
    if os.geteuid() != 0:
        return "needs root, with whose rights containers are built and run here"
    if subprocess.run(["unshare", "--mount", "--pid", "--net", "--fork", "true"], capture_output=True).returncode:
        return "needs the right to create namespaces, which this machine does not give to root"
    return ""


class Container:
    """A container, which need not run. Its name must be unique on this machine."""

    def __init__(self, name: str, *arguments: str) -> None:
        """`arguments` are podman's options, the image and the command."""
        self.name = name
        podman("create", f"--name={name}", *arguments)

    @property
    def pid(self) -> int:
        """The id of the container's first process on this machine; 0 if the container does not run."""
        return int(self._state()["Pid"])

    def start(self) -> None:
        """Start the container, for the first time or again."""
        podman("start", self.name)

    def kill(self) -> None:
        """End the container's processes with SIGKILL. podman then does what the restart policy says."""
        pid = self.pid
        assert pid, f"{self.name} does not run."
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: self.pid != pid)

    def stop(self) -> int:
        """End the container with SIGTERM, or after its grace period with SIGKILL; return its exit code."""
        podman("stop", self.name)
        return int(self._state()["ExitCode"])

    def healthy(self) -> bool:
        """Whether the container's health check succeeds now."""
        return podman("healthcheck", "run", self.name, check=False).returncode == 0

    def logs(self) -> str:
        """The end of the container's output."""
        result = podman("logs", self.name, check=False)
        return result.stdout[-3000:] + result.stderr[-3000:]

    def remove(self) -> None:
        """Remove the container, if it is there, with its unnamed volumes. Its processes end with SIGKILL."""
        podman("rm", "--force", "--time=0", "--volumes", self.name, check=False)

    def _state(self) -> dict[str, Any]:
        (found,) = json.loads(podman("container", "inspect", self.name).stdout)
        state: dict[str, Any] = found["State"]
        return state


def podman(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run podman; unless `check` is false, fail with its error output."""
    return _run("podman", *arguments, check=check)


def make_base_image(name: str) -> None:
    """Make a base image from Debian's packages, unless it exists."""
    if podman("image", "exists", name, check=False).returncode == 0:
        return
    packages, instructions = BASE_IMAGES[name]
    with tempfile.TemporaryDirectory(dir=STORAGE) as folder:
        _run("mmdebstrap", "--variant=minbase", f"--include={packages}", "bookworm", f"{folder}/root.tar")
        Path(folder, "Dockerfile").write_text(f"FROM scratch\nADD root.tar /\n{instructions}\n")
        _run("buildah", "bud", "--isolation=chroot", "--tag", name, folder)


def build(context: Path, target: str, tag: str) -> str:
    """Build a target of the Dockerfile in `context`, with this machine's configuration of pip. Layers are cached.

    Return the image's id, because another checkout may give the tag to its own image.
    """
    options = ["--isolation=chroot", "--network=host", "--format=docker", "--layers", "--pull-never"]
    mounts = [f"--volume={path}:{path}:ro" for path in _pip_paths()]
    mounts.append(f"--volume={_pip_configuration()}:/etc/pip.conf:ro")
    built = _run("buildah", "bud", *options, *mounts, "--target", target, "--tag", tag, str(context))
    return built.stdout.split()[-1]


def _run(*command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **_configuration()}
    result = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if check and result.returncode:
        raise AssertionError(f"{' '.join(command)}\n{result.stdout[-3000:]}\n{result.stderr[-3000:]}")
    return result


@cache
def _configuration() -> Mapping[str, str]:
    """The variables that name the configuration of podman and buildah.

    Without a service manager there are neither its cgroups nor its journal. Limits above those of the shell are
    refused.
    """
    limits = (("nofile", resource.RLIMIT_NOFILE, MAX_FILES), ("nproc", resource.RLIMIT_NPROC, MAX_PROCESSES))
    ulimits = []
    for name, kind, most in limits:
        hard = resource.getrlimit(kind)[1]
        value = most if hard == resource.RLIM_INFINITY else min(hard, most)
        ulimits.append(f"{name}={value}:{value}")
    containers = _write(
        "containers.conf",
        f"[containers]\ndefault_ulimits = {strict_json.dumps(ulimits)}\n"
        '[engine]\nruntime = "runc"\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n',
    )
    storage = _write(
        "storage.conf",
        f'[storage]\ndriver = "overlay"\ngraphroot = "{STORAGE / "images"}"\nrunroot = "{STORAGE / "run"}"\n',
    )
    return {"CONTAINERS_CONF": str(containers), "CONTAINERS_STORAGE_CONF": str(storage)}


def _write(name: str, text: str) -> Path:
    """Write a file of the configuration, which programs of another run may read at the same time."""
    path = STORAGE / name
    with atomic_write(path, suffix=f".{os.getpid()}") as file:
        file.write(text.encode())
    return path


@cache
def _pip_options() -> Mapping[str, str]:
    """The options of pip on this machine, from its files and the environment."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    options = {}
    for line in listed.splitlines():  # such as global.timeout='60' and :env:.find-links='/wheels'
        name, _, value = line.partition("=")
        options[name.rpartition(".")[2]] = value[1:-1]
    return options


def _pip_configuration() -> Path:
    parser = ConfigParser(interpolation=None)
    parser["global"] = _pip_options()
    text = io.StringIO()
    parser.write(text)
    return _write("pip.conf", text.getvalue())


def _pip_paths() -> Sequence[str]:
    """The folders that contain what the options of pip name. The pages of an index name files beside its folder."""
    folders = set()
    for word in " ".join(_pip_options().values()).split():
        url = urlsplit(word)
        if url.scheme in ("", "file") and url.path.startswith("/"):
            path = Path(url.path)
            folders.add(path if path.is_dir() and not url.scheme else path.parent)
    return sorted(str(folder) for folder in folders if folder.is_dir())
