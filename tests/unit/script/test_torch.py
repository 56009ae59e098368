"""`script/torch` installs the build for the CPU where it can be had and no driver needs another one."""

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
    reason="only on Linux on x86-64 there is a choice, and this machine's driver has made it",
)


def add_wheel(index: Path, version: str) -> None:
    """Add a torch of nothing but its name and version to a folder that is served as an index."""
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
    """The URL of two indexes: `/usual` has the pinned version, `/cpu` has it as a build for the CPU."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Nothing: pytest shows what is printed."""

    folder = tmp_path / "indexes"
    add_wheel(folder / "usual", VERSION)
    add_wheel(folder / "cpu", f"{VERSION}+cpu")
    add_wheel(folder / "cpu", "99.0+cpu")
    add_wheel(folder / "old", f"{VERSION}.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def install(tmp_path: Path, indexes: str) -> Callable[..., tuple[str, str]]:
    """Run `script/torch` for an environment of its own: the version that is installed, and what was said."""
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
            "PIP_INDEX_URL": f"{indexes}/usual",
            "PIP_NO_CACHE_DIR": "1",
        }
        if index is not None:
            variables["CAPTIOND_TORCH_INDEX"] = index
        said = subprocess.run(
            ["bash", PROJECT_ROOT / "script" / "torch", python],
            env=variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert said.returncode == 0, said.stdout
        (info,) = environment.glob("lib/python*/site-packages/torch-*.dist-info")
        return info.name.removeprefix("torch-").removesuffix(".dist-info"), said.stdout

    return run


def test_without_a_driver_the_build_for_the_cpu_is_installed(
    install: Callable[..., tuple[str, str]], indexes: str
) -> None:
    version, said = install(f"{indexes}/cpu")

    assert version == f"{VERSION}+cpu"
    assert "no NVIDIA driver" in said and "200 MB" in said and "gigabytes" not in said


def test_with_a_driver_the_usual_build_is_installed(install: Callable[..., tuple[str, str]], indexes: str) -> None:
    version, said = install(f"{indexes}/cpu", driver=True)

    assert version == VERSION
    assert "has an NVIDIA driver" in said and "gigabytes" in said


@pytest.mark.parametrize("name", ["old", "nothing"])
def test_an_index_without_this_version_is_passed_over(
    install: Callable[..., tuple[str, str]], indexes: str, name: str
) -> None:
    version, said = install(f"{indexes}/{name}")

    assert version == VERSION
    assert f"lacks torch=={VERSION}" in said and "gigabytes" in said


def test_an_index_that_does_not_answer_is_passed_over_within_seconds(install: Callable[..., tuple[str, str]]) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        begun = time.monotonic()
        version, said = install(f"http://127.0.0.1:{silent.getsockname()[1]}/cpu")

    assert version == VERSION
    assert "does not answer" in said and "gigabytes" in said
    assert time.monotonic() - begun < 60, "15 seconds for the index, and a busy machine"


def test_without_an_index_the_usual_one_is_used_at_once(install: Callable[..., tuple[str, str]]) -> None:
    assert install("") == (VERSION, "")


def test_the_index_that_is_named_may_have_a_password_and_it_is_not_shown(
    install: Callable[..., tuple[str, str]], indexes: str
) -> None:
    version, said = install(indexes.replace("//", "//user:secret@") + "/cpu")

    assert version == f"{VERSION}+cpu"
    assert "secret" not in said
