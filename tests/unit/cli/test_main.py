"""The command line: what is given reaches the settings, and nonsense is refused with a sentence."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cli import main as command_line
from common.settings import Settings


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """The settings that `captiond serve` was run with."""
    found: list[Settings] = []

    def serve(settings: Settings) -> int:
        found.append(settings)
        return 0

    monkeypatch.setattr("cli.serve.serve", serve)
    return found


def run(*arguments: str) -> Any:
    with pytest.raises(SystemExit) as ended:
        command_line.main(list(arguments))
    return ended.value.code


def test_flags_override_the_environment(served: list[Settings], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAPTIOND_PORT", "7000")
    monkeypatch.setenv("CAPTIOND_MODEL", "demo")

    code = run("serve", "--port", "7001", "--data", "/tmp/x")

    assert code == 0
    assert (served[0].port, served[0].model, served[0].data) == (7001, "demo", Path("/tmp/x"))
    assert served[0].insecure is False


def test_who_says_insecure_means_it(served: list[Settings]) -> None:
    run("serve", "--insecure")

    assert served[0].insecure is True


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "required: command"),
        (("dance",), "invalid choice"),
        (("serve", "--port", "99999"), "--port: It must be less than"),
        (("serve", "--port", "eighty"), "invalid int"),
        (("caption",), "FILE"),
        (("keys",), "required: action"),
        (("keys", "add", "alice", "--scope", "dance"), "--scope"),
    ],
)
def test_a_wrong_command_exits_with_two_and_says_why(
    arguments: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == 2
    assert words in capsys.readouterr().err


def test_a_wrong_setting_of_the_environment_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CAPTIOND_BEAMS", "0")

    assert run("doctor") == 2
    assert capsys.readouterr().err == "CAPTIOND_BEAMS: It must be greater than 0.\n"


@pytest.mark.parametrize(
    "command",
    [
        ["cli.main", "doctor"],
        ["cli.main", "serve"],
        ["web"],
        ["celery", "-A", "worker", "worker"],
        ["training.export", "--checkpoint", "none.pt", "--out", "none"],
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_every_process_refuses_a_wrong_url_in_one_line_without_its_password(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAPTIOND_REDIS_URL", "redis://:secret#7@host/0")
    monkeypatch.setenv("CAPTIOND_DATA", str(tmp_path))

    ended = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, check=False)

    assert ended.returncode != 0
    assert ended.stderr.startswith("CAPTIOND_REDIS_URL: ") and len(ended.stderr.splitlines()) == 1
    assert "secret" not in ended.stdout + ended.stderr


@pytest.mark.parametrize(
    "command",
    [
        ["cli.main", "serve"],
        ["cli.main", "keys", "add", "alice"],
        ["cli.main", "keys", "revoke", "alice"],
        ["web"],
        ["celery", "-A", "worker", "worker"],
    ],
    ids=" ".join,
)
def test_a_data_folder_that_cannot_be_used_is_said_in_a_sentence(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("CAPTIOND_DATA", str(tmp_path / "file"))

    ended = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, check=False)

    assert ended.returncode == 1
    assert f"The data folder {tmp_path / 'file'} cannot be used: " in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("module", ["cli.main", "cli.doctor", "cli.serve", "web", "web.__main__", "worker.celery"])
def test_what_needs_no_model_does_not_wait_for_torch(module: str) -> None:
    code = f"import sys, importlib; importlib.import_module('{module}'); sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
