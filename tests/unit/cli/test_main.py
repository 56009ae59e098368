"""The command line: flags reach the settings, and invalid arguments are refused with a message."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cli.batch.options import Options
from common.settings import Settings
from tests.unit.cli.commands import run


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """The settings of each `captiond serve` call, which is replaced by a recorder."""
    calls: list[Settings] = []

    def serve(settings: Settings) -> int:
        calls.append(settings)
        return 0

    monkeypatch.setattr("cli.serve.serve", serve)
    return calls


def test_flags_override_the_environment(served: list[Settings], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAPTIOND_PORT", "7000")
    monkeypatch.setenv("CAPTIOND_MODEL", "demo")

    code = run("serve", "--port", "7001", "--data", "/tmp/x")

    assert code == 0
    assert (served[0].port, served[0].model, served[0].data) == (7001, "demo", Path("/tmp/x"))
    assert served[0].insecure is False


def test_the_insecure_flag_reaches_the_settings(served: list[Settings]) -> None:
    run("serve", "--insecure")

    assert served[0].insecure is True


@pytest.mark.parametrize(
    ("arguments", "message"),
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
def test_wrong_arguments_exit_with_code_two_and_a_message(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == 2
    assert message in capsys.readouterr().err


def test_a_wrong_environment_variable_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CAPTIOND_BEAMS", "0")

    assert run("doctor") == 2
    assert capsys.readouterr().err == "CAPTIOND_BEAMS: It must be greater than 0.\n"


def test_the_commands_speak_the_language_of_their_setting(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("CAPTIOND_LANGUAGE", "ru")
    monkeypatch.setenv("CAPTIOND_BEAMS", "0")
    assert run("doctor") == 2
    assert capsys.readouterr().err == "CAPTIOND_BEAMS: Значение должно быть больше 0.\n"

    monkeypatch.delenv("CAPTIOND_BEAMS")
    assert run("keys", "revoke", "alice", "--data", str(tmp_path)) == 1
    assert capsys.readouterr().err == "Ключа с именем alice нет. Список ключей: `captiond keys list`.\n"


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
def test_every_process_refuses_an_invalid_url_in_one_line_without_its_password(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAPTIOND_REDIS_URL", "redis://:secret#7@host/0")
    monkeypatch.setenv("CAPTIOND_DATA", str(tmp_path))

    process = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, check=False)

    assert process.returncode != 0
    assert process.stderr.startswith("CAPTIOND_REDIS_URL: ") and len(process.stderr.splitlines()) == 1
    assert "secret" not in process.stdout + process.stderr


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
def test_an_unusable_data_folder_is_reported_without_a_traceback(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("CAPTIOND_DATA", str(tmp_path / "file"))

    process = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, check=False)

    assert process.returncode == 1
    assert f"The data folder {tmp_path / 'file'} cannot be used: " in process.stderr.splitlines()[-1]
    assert "Traceback" not in process.stderr


def test_flags_and_the_key_of_the_environment_reach_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Options] = []

    def watch(settings: Settings, options: Options) -> int:
        calls.append(options)
        return 0

    monkeypatch.setattr("cli.batch.watch.watch", watch)
    monkeypatch.setenv("CAPTIOND_KEY", "captiond_x")

    assert run("watch", "inbox", "--xmp", "--alt-text", "--poll", "2") == 0

    assert calls == [Options(["inbox"], sidecars=".xmp", alt_text=True, poll=2.0, key="captiond_x")]


@pytest.mark.parametrize("module", ["cli.main", "cli.doctor", "cli.serve", "web", "web.__main__", "worker.celery"])
def test_modules_without_a_model_do_not_import_torch(module: str) -> None:
    code = f"import sys, importlib; importlib.import_module('{module}'); sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
