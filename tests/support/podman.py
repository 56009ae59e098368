"""Builds images with buildah and runs containers with podman, without a registry: base images are made from Debian.

Images and containers are kept in a storage of their own below `STORAGE`, so that a second run finds the base images and
the layers of the first.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from configparser import ConfigParser
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from common import strict_json

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
def obstacle() -> str:
    """Why containers cannot run here; empty if they can."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        return f"needs {', '.join(missing)} (script/test --slow installs them if it runs as root on Debian)"
    if os.geteuid() != 0:
        return "needs root, with whose rights containers are built and run here"
    if subprocess.run(["unshare", "--mount", "--pid", "--net", "--fork", "true"], capture_output=True).returncode:
        return "needs the right to create namespaces, which this machine does not give to root"
    return ""


def podman(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run podman; unless `check` is false, fail with its error output."""
    return _run("podman", *arguments, check=check)


def inspect(name: str) -> dict[str, Any]:
    """What podman knows about a container or an image."""
    found: list[dict[str, Any]] = json.loads(podman("inspect", name).stdout)
    return found[0]


def make_base_image(name: str) -> None:
    """Make a base image from Debian's packages, unless it exists."""
    if podman("image", "exists", name, check=False).returncode == 0:
        return
    packages, instructions = BASE_IMAGES[name]
    folder = STORAGE / "base"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    _run("mmdebstrap", "--variant=minbase", f"--include={packages}", "bookworm", str(folder / "root.tar"))
    (folder / "Dockerfile").write_text(f"FROM scratch\nADD root.tar /\n{instructions}\n")
    _run("buildah", "bud", "--isolation=chroot", "--tag", name, str(folder))
    shutil.rmtree(folder)


def build(context: Path, target: str, tag: str) -> None:
    """Build a target of the Dockerfile in `context`, with this machine's configuration of pip. Layers are cached."""
    options = ["--isolation=chroot", "--network=host", "--format=docker", "--layers", "--pull-never"]
    mounts = [f"--volume={path}:{path}:ro" for path in _pip_paths()]
    mounts.append(f"--volume={_pip_configuration()}:/etc/pip.conf:ro")
    _run("buildah", "bud", *options, *mounts, "--target", target, "--tag", tag, str(context))


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
    STORAGE.mkdir(exist_ok=True)
    limits = (("nofile", resource.RLIMIT_NOFILE, MAX_FILES), ("nproc", resource.RLIMIT_NPROC, MAX_PROCESSES))
    ulimits = []
    for name, kind, most in limits:
        hard = resource.getrlimit(kind)[1]
        value = most if hard == resource.RLIM_INFINITY else min(hard, most)
        ulimits.append(f"{name}={value}:{value}")
    (STORAGE / "containers.conf").write_text(
        f"[containers]\ndefault_ulimits = {strict_json.dumps(ulimits)}\n"
        '[engine]\nruntime = "runc"\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n'
    )
    (STORAGE / "storage.conf").write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{STORAGE / "images"}"\nrunroot = "{STORAGE / "run"}"\n'
    )
    return {
        "CONTAINERS_CONF": str(STORAGE / "containers.conf"),
        "CONTAINERS_STORAGE_CONF": str(STORAGE / "storage.conf"),
    }


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
    path = STORAGE / "pip.conf"
    with path.open("w") as file:
        parser.write(file)
    return path


def _pip_paths() -> Sequence[str]:
    """The folders that contain what the options of pip name. The pages of an index name files beside its folder."""
    folders = set()
    for word in " ".join(_pip_options().values()).split():
        url = urlsplit(word)
        if url.scheme in ("", "file") and url.path.startswith("/"):
            path = Path(url.path)
            folders.add(path if path.is_dir() and not url.scheme else path.parent)
    return sorted(str(folder) for folder in folders if folder.is_dir())
