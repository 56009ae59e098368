"""`script/test` lists the missing programs where it cannot install them, and passes its arguments to pytest."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from common.settings import PROJECT_ROOT

#: What the script runs by default.
ORDINARY = "OMP_WAIT_POLICY=passive python -m pytest -rs -n 2 --dist loadfile --no-loadscope-reorder -m not slow"


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., list[str]]:
    """Run a copy of the script as an ordinary user with only the given programs installed; return its output lines."""

    def write_program(path: Path, line: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{line}\n")
        path.chmod(0o755)

    script, programs = tmp_path / "script" / "test", tmp_path / "programs"
    write_program(tmp_path / "script" / "setup", "")
    write_program(tmp_path / ".venv" / "bin" / "playwright", "")
    write_program(tmp_path / ".venv" / "bin" / "python", 'echo "OMP_WAIT_POLICY=$OMP_WAIT_POLICY python $@"')
    shutil.copy(PROJECT_ROOT / "script" / "test", script)
    write_program(programs / "id", "echo 1000")
    (programs / "dirname").symlink_to(str(shutil.which("dirname")))

    def run_script(*arguments: str, installed: tuple[str, ...] = ()) -> list[str]:
        for name in installed:
            write_program(programs / name, "")
        bash = str(shutil.which("bash"))
        process = subprocess.run(
            [bash, script, *arguments], env={"PATH": str(programs)}, capture_output=True, text=True, check=True
        )
        return process.stdout.splitlines()

    return run_script


def test_missing_programs_are_listed_and_pytest_runs(run: Callable[..., list[str]]) -> None:
    missing, tests = run("-k", "page")

    assert missing.endswith(
        "are not installed: chromium default-jre-headless redis-sentinel libimage-exiftool-perl prometheus"
    )
    assert tests == f"{ORDINARY} -k page"


def test_the_slow_tests_require_more_programs(run: Callable[..., list[str]]) -> None:
    missing, tests = run("--slow", installed=("chromium", "java"))

    assert "rabbitmq-server" in missing and "chromium" not in missing
    assert tests == "OMP_WAIT_POLICY= python -m pytest -rs -m slow"


def test_no_message_is_printed_when_no_program_is_missing(run: Callable[..., list[str]]) -> None:
    assert run(installed=("google-chrome", "java", "exiftool", "promtool", "redis-server")) == [ORDINARY]
