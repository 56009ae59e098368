"""`captiond serve` refuses what it cannot do in a sentence, before anything is started."""

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

from cli import instance_lock
from cli import serve as serving
from cli.serve import address, free_port, serve, should_show, usable_port, web_part
from common.settings import Settings


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_port_in_use_is_named(tmp_path: Path, taken_port: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert serve(Settings(data=tmp_path, port=taken_port)) == 1
    assert f"Port {taken_port} of 127.0.0.1 is in use" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("host", "words"), [("192.0.2.7", "not an address of this machine"), ("nowhere.invalid", "no IP address")]
)
@pytest.mark.parametrize("alone", [False, True], ids=["serve", "web"])
def test_a_host_that_is_not_this_machine_is_named(tmp_path: Path, host: str, words: str, alone: bool) -> None:
    environment = Settings(data=tmp_path, host=host, port=free_port(), insecure=True).environment()
    command = ["web"] if alone else ["cli.main", "serve"]

    ended = subprocess.run(
        [sys.executable, "-m", *command], env=environment, capture_output=True, text=True, check=False
    )

    assert ended.returncode == 1
    said = ended.stderr.splitlines()[-1]
    assert said.startswith(host) and words in said and "Traceback" not in ended.stderr


def test_port_0_is_a_free_one() -> None:
    assert usable_port(Settings(port=0)) > 0


def test_the_web_server_is_asked_directly_whatever_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    monkeypatch.delenv("no_proxy", raising=False)
    with HTTPServer(("127.0.0.1", 0), Healthy) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()

        assert web_part(Settings(host="::", port=server.server_port)).ready(0)


class Healthy(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: pytest shows what is printed."""


def test_a_folder_is_served_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with FileLock(tmp_path / "serve.lock"):
        assert serve(Settings(data=tmp_path, port=free_port())) == 1

    assert "Another captiond serves" in capsys.readouterr().err


def test_it_waits_for_the_parts_of_one_that_was_killed(tmp_path: Path) -> None:
    """A child keeps the lock that it inherited, whoever took it."""
    said: list[str] = []
    lock = instance_lock.hold(tmp_path / "parts.lock", said.append)
    assert lock is not None
    part = subprocess.Popen(["sleep", "600"], pass_fds=[lock])
    os.close(lock)

    assert instance_lock.hold(tmp_path / "parts.lock", said.append, patience=0.2) is None
    assert len(said) == 1 and "earlier captiond" in said[0]
    part.kill()
    part.wait()
    again = instance_lock.hold(tmp_path / "parts.lock", said.append)
    assert again is not None
    os.close(again)


def test_parts_that_do_not_stop_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instance_lock, "hold", lambda path, say: None)

    assert serve(Settings(data=tmp_path, port=free_port())) == 1
    assert "still use" in capsys.readouterr().err


def test_a_redis_that_is_told_must_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = Settings(data=tmp_path, port=free_port(), redis_url=f"redis://:secret@127.0.0.1:{free_port()}/0")

    assert serve(settings) == 1
    said = capsys.readouterr().err
    assert "No Redis answers" in said and "secret" not in said


def test_other_machines_are_not_served_without_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert serve(Settings(data=tmp_path, host="0.0.0.0", port=free_port())) == 1
    assert "captiond keys add" in capsys.readouterr().err


def test_neither_are_they_by_the_web_server_alone(tmp_path: Path) -> None:
    environment = Settings(data=tmp_path, host="0.0.0.0", port=free_port()).environment()

    ended = subprocess.run([sys.executable, "-m", "web"], env=environment, capture_output=True, text=True, check=False)

    assert ended.returncode == 1
    assert "--insecure" in ended.stderr and "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),
        ("::1", "http://[::1]:80"),
        ("::", "http://127.0.0.1:80"),
    ],
)
def test_the_address_is_one_that_a_browser_takes(host: str, url: str) -> None:
    assert address(Settings(host=host, port=80)) == url


def test_a_person_sees_warnings_and_the_model_but_not_the_chatter() -> None:
    assert should_show("2026-01-01 WARNING captioning.weights: The bundled demo model captions")
    assert should_show("2026-01-01 INFO captioning.weights: Captioning with demo")
    assert not should_show("2026-01-01 INFO celery.worker: Task received")


def test_a_service_whose_terminal_is_gone_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Gone())

    serving._emit("web ready")
