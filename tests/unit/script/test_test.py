"""`script/test` knows which programs the tests need, and says which are missing where it cannot install them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from common.settings import PROJECT_ROOT


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., list[str]]:
    """Run a copy of the script, for a user who is not root, with nothing but the named programs: what it says."""

    def program(path: Path, line: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{line}\n")
        path.chmod(0o755)

    script, programs = tmp_path / "script" / "test", tmp_path / "programs"
    program(tmp_path / "script" / "setup", "")
    program(tmp_path / ".venv" / "bin" / "playwright", "")
    program(tmp_path / ".venv" / "bin" / "python", 'echo "python $@"')
    shutil.copy(PROJECT_ROOT / "script" / "test", script)
    program(programs / "id", "echo 1000")
    (programs / "dirname").symlink_to(str(shutil.which("dirname")))

    def said(*arguments: str, installed: tuple[str, ...] = ()) -> list[str]:
        for name in installed:
            program(programs / name, "")
        bash = str(shutil.which("bash"))
        ended = subprocess.run(
            [bash, script, *arguments], env={"PATH": str(programs)}, capture_output=True, text=True, check=True
        )
        return ended.stdout.splitlines()

    return said


def test_what_is_missing_is_said_and_the_other_tests_run(run: Callable[..., list[str]]) -> None:
    missing, tests = run("-k", "page")

    assert missing.endswith("(Debian's names): chromium default-jre-headless libimage-exiftool-perl")
    assert tests == "python -m pytest -rs -m not slow -k page"


def test_the_slow_tests_need_more(run: Callable[..., list[str]]) -> None:
    missing, tests = run("--slow", installed=("chromium", "java"))

    assert "rabbitmq-server" in missing and "chromium" not in missing
    assert tests == "python -m pytest -rs -m slow"


def test_nothing_is_said_where_nothing_is_missing(run: Callable[..., list[str]]) -> None:
    assert run(installed=("google-chrome", "java", "exiftool")) == ["python -m pytest -rs -m not slow"]
