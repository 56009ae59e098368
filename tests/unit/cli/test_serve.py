"""`captiond serve` checks its configuration before it starts a process, and refuses with a message."""

from __future__ import annotations

import io
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from filelock import FileLock

from cli import instance_lock, keys
from cli import serve as serving
from cli.serve import free_port, page_url, ready_lines, serve, should_show, usable_port, web_process
from common.settings import Settings


@pytest.fixture
def used_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_port_in_use_is_refused(tmp_path: Path, used_port: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert serve(Settings(data=tmp_path, port=used_port)) == 1
    assert f"Port {used_port} of 127.0.0.1 is in use" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("host", "message"), [("192.0.2.7", "not an address of this machine"), ("nowhere.invalid", "no IP address")]
)
@pytest.mark.parametrize("web_only", [False, True], ids=["serve", "web"])
def test_a_host_of_another_machine_is_refused(tmp_path: Path, host: str, message: str, web_only: bool) -> None:
    environment = Settings(data=tmp_path, host=host, port=free_port(), insecure=True).environment()
    command = ["web"] if web_only else ["cli.main", "serve"]

    process = subprocess.run(
        [sys.executable, "-m", *command], env=environment, capture_output=True, text=True, check=False
    )

    assert process.returncode == 1
    error = process.stderr.splitlines()[-1]
    assert error.startswith(host) and message in error and "Traceback" not in process.stderr


def test_port_zero_selects_a_free_port() -> None:
    assert usable_port(Settings(port=0)) > 0


def test_the_health_check_ignores_a_configured_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    monkeypatch.delenv("no_proxy", raising=False)
    with HTTPServer(("127.0.0.1", 0), Healthy) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()

        assert web_process(Settings(host="::", port=server.server_port)).ready(0)


class Healthy(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Do not print: pytest would show it."""


def test_a_data_folder_in_use_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with FileLock(tmp_path / "serve.lock"):
        assert serve(Settings(data=tmp_path, port=free_port())) == 1

    assert "Another captiond already uses" in capsys.readouterr().err


def test_the_instance_lock_waits_for_the_children_of_a_killed_service(tmp_path: Path) -> None:
    lines: list[str] = []
    lock = instance_lock.acquire(tmp_path / "parts.lock", lines.append)
    assert lock is not None
    child = subprocess.Popen(["sleep", "600"], pass_fds=[lock])
    os.close(lock)

    assert instance_lock.acquire(tmp_path / "parts.lock", lines.append, timeout=0.2) is None
    assert len(lines) == 1 and "earlier captiond" in lines[0]
    child.kill()
    child.wait()
    again = instance_lock.acquire(tmp_path / "parts.lock", lines.append)
    assert again is not None
    os.close(again)


def test_children_that_do_not_stop_are_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instance_lock, "acquire", lambda path, emit: None)

    assert serve(Settings(data=tmp_path, port=free_port())) == 1
    assert "still use" in capsys.readouterr().err


def test_an_unreachable_configured_redis_is_reported_without_its_password(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings(data=tmp_path, port=free_port(), redis_url=f"redis://:secret@127.0.0.1:{free_port()}/0")

    assert serve(settings) == 1
    error = capsys.readouterr().err
    assert "No Redis answers" in error and "secret" not in error


def test_a_public_address_without_keys_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert serve(Settings(data=tmp_path, host="0.0.0.0", port=free_port())) == 1
    assert "captiond keys add" in capsys.readouterr().err


def test_the_web_server_alone_refuses_a_public_address_without_keys(tmp_path: Path) -> None:
    environment = Settings(data=tmp_path, host="0.0.0.0", port=free_port()).environment()

    process = subprocess.run(
        [sys.executable, "-m", "web"], env=environment, capture_output=True, text=True, check=False
    )

    assert process.returncode == 1
    assert "--insecure" in process.stderr and "Traceback" not in process.stderr


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),
        ("::1", "http://[::1]:80"),
        ("::", "http://127.0.0.1:80"),
    ],
)
def test_the_page_url_works_in_a_browser(host: str, url: str) -> None:
    assert page_url(Settings(host=host, port=80)) == url


def test_the_first_steps_name_the_url_and_the_key_where_one_is_needed(tmp_path: Path) -> None:
    _, request, folder = map(str, ready_lines(Settings(data=tmp_path, port=81)))

    assert request == "Try: curl -H 'Prefer: wait=60' -F image=@photo.jpg http://127.0.0.1:81/v1/jobs"
    assert folder.endswith("captiond batch photos --url http://127.0.0.1:81 --out captions.jsonl")

    assert keys.add(Settings(data=tmp_path), "phone", []) == 0
    assert 'curl -H "Authorization: Bearer $CAPTIOND_KEY" ' in str(ready_lines(Settings(data=tmp_path, port=81))[1])


def test_only_warnings_and_the_model_are_shown_on_the_terminal() -> None:
    assert should_show("2026-01-01 WARNING captioning.weights: The bundled demo model captions")
    assert should_show("2026-01-01 INFO captioning.weights: Captioning with demo")
    assert not should_show("2026-01-01 INFO celery.worker: Task received")
    assert should_show('{"level": "WARNING", "logger": "common.uploads", "message": "no answer"}')
    assert should_show('{"level": "INFO", "logger": "captioning.weights", "message": "Captioning with demo"}')
    assert not should_show('{"level": "INFO", "logger": "web", "message": "\\"level\\": \\"ERROR\\""}')


def test_a_closed_terminal_does_not_raise(monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Closed())

    serving._emit("web ready")
