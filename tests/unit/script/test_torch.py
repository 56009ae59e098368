"""`script/torch` installs the CPU build of torch when there is no NVIDIA driver and an index has that build."""

from __future__ import annotations

import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from common.settings import PROJECT_ROOT

(VERSION,) = re.findall(r"^torch==(.+)$", (PROJECT_ROOT / "constraints.txt").read_text(), re.MULTILINE)

pytestmark = pytest.mark.skipif(
    (platform.system(), platform.machine()) != ("Linux", "x86_64")
    or Path("/proc/driver/nvidia").exists()
    or any(Path("/dev").glob("nvidia*")),
    reason="needs Linux on x86-64 without an NVIDIA driver",
)


def add_wheel(index: Path, version: str) -> None:
    """Add an empty wheel of torch with this version to a folder that is served as a package index."""
    folder, info = index / "torch", f"torch-{version}.dist-info"
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / f"torch-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: torch\nVersion: {version}\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    names = sorted(path.name for path in folder.glob("*.whl"))
    (folder / "index.html").write_text("".join(f'<a href="{name.replace("+", "%2B")}">{name}</a>\n' for name in names))


@pytest.fixture
def indexes(tmp_path: Path) -> Iterator[str]:
    """URL below which package indexes are served.

    `/default` has the pinned version, `/cpu` its CPU build, `/old` another version.
    """

    class QuietHandler(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Do not print: pytest would show it."""

    folder = tmp_path / "indexes"
    add_wheel(folder / "default", VERSION)
    add_wheel(folder / "cpu", f"{VERSION}+cpu")
    add_wheel(folder / "cpu", "99.0+cpu")
    add_wheel(folder / "old", f"{VERSION}.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def install(tmp_path: Path, indexes: str) -> Callable[..., tuple[str, str]]:
    """Run `script/torch` for a new virtual environment; return the installed version and the output."""
    environment, programs = tmp_path / "environment", tmp_path / "programs"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    programs.mkdir()
    for name in ("bash", "dirname", "grep", "uname", "timeout", "tr", "env"):
        (programs / name).symlink_to(str(shutil.which(name)))
    python = programs / "python"
    python.write_text(f'#!/bin/sh\nshift 2\nexec {sys.executable} -m pip --python {environment}/bin/python "$@"\n')
    python.chmod(0o755)

    def run(index: str | None = None, *, driver: bool = False) -> tuple[str, str]:
        if driver:
            (programs / "nvidia-smi").symlink_to("/bin/true")
        variables = {
            "PATH": str(programs),
            "HOME": str(tmp_path),
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_INDEX_URL": f"{indexes}/default",
            "PIP_NO_CACHE_DIR": "1",
        }
        if index is not None:
            variables["CAPTIOND_TORCH_INDEX"] = index
        process = subprocess.run(
            ["bash", PROJECT_ROOT / "script" / "torch", python],
            env=variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert process.returncode == 0, process.stdout
        (info,) = environment.glob("lib/python*/site-packages/torch-*.dist-info")
        return info.name.removeprefix("torch-").removesuffix(".dist-info"), process.stdout

    return run


def test_without_a_driver_the_cpu_build_is_installed(install: Callable[..., tuple[str, str]], indexes: str) -> None:
    version, output = install(f"{indexes}/cpu")

    assert version == f"{VERSION}+cpu"
    assert "no NVIDIA driver" in output and "200 MB" in output and "gigabytes" not in output


def test_with_a_driver_the_default_build_is_installed(install: Callable[..., tuple[str, str]], indexes: str) -> None:
    version, output = install(f"{indexes}/cpu", driver=True)

    assert version == VERSION
    assert "has an NVIDIA driver" in output and "gigabytes" in output


@pytest.mark.parametrize("name", ["old", "nothing"])
def test_an_index_without_the_version_is_skipped(
    install: Callable[..., tuple[str, str]], indexes: str, name: str
) -> None:
    version, output = install(f"{indexes}/{name}")

    assert version == VERSION
    assert f"lacks torch=={VERSION}" in output and "gigabytes" in output


def test_an_index_that_does_not_answer_is_skipped_within_seconds(install: Callable[..., tuple[str, str]]) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        started = time.monotonic()
        version, output = install(f"http://127.0.0.1:{silent.getsockname()[1]}/cpu")

    assert version == VERSION
    assert "does not answer" in output and "gigabytes" in output
    assert time.monotonic() - started < 60, "15 s for the index, and a margin for a busy machine"


def test_with_an_empty_index_the_default_one_is_used(install: Callable[..., tuple[str, str]]) -> None:
    assert install("") == (VERSION, "")


def test_the_password_of_an_index_is_not_printed(install: Callable[..., tuple[str, str]], indexes: str) -> None:
    version, output = install(indexes.replace("//", "//user:secret@") + "/cpu")

    assert version == f"{VERSION}+cpu"
    assert "secret" not in output
