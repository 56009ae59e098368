"""Which Redis `captiond serve` uses."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from redis import Redis, RedisError

from cli import redis_server
from cli.serve import free_port
from common.settings import Settings


def test_one_that_is_told_is_not_started(tmp_path: Path) -> None:
    server = redis_server.choose(Settings(data=tmp_path, redis_url="redis://elsewhere:1/0"), 1)

    assert (server.url, server.command) == ("redis://elsewhere:1/0", None)


def test_a_private_one_keeps_a_log_and_evicts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_server, "find_server", lambda: "/usr/bin/redis-server")

    server = redis_server.choose(Settings(data=tmp_path), 1)

    assert server.command is not None
    words = " ".join(server.command)
    assert "--appendonly yes" in words and "--maxmemory-policy noeviction" in words
    assert "--port 0" in words  # nobody else on the machine can reach it
    assert "--unixsocketperm 700" in words
    assert server.url == f"unix://{tmp_path}/redis/redis.sock"


def test_one_on_path_comes_before_the_bundled_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/opt/{name}" if name == "valkey-server" else None)

    assert redis_server.find_server() == "/opt/valkey-server"


def test_a_long_path_gets_a_short_socket(tmp_path: Path) -> None:
    short, long = redis_server.socket_path(tmp_path), redis_server.socket_path(Path("/x" * 80))

    assert short == tmp_path / "redis.sock"
    assert len(str(long)) <= redis_server.SOCKET_PATH
    assert long != redis_server.socket_path(Path("/y" * 80))


def test_without_any_a_stand_in_says_that_it_forgets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_server, "find_server", lambda: None)
    port = free_port()

    server = redis_server.choose(Settings(data=tmp_path), port)

    assert server.about.startswith("NO PERSISTENCE")
    assert server.command is not None and server.command[0] == sys.executable
    process = subprocess.Popen(server.command)
    try:
        assert _stores(Redis.from_url(server.url))
    finally:
        process.terminate()
        process.wait()


def _stores(redis: Redis) -> bool:
    for _ in range(100):
        try:
            redis.set("a", "b")
            return redis.get("a") == b"b"
        except RedisError:
            time.sleep(0.1)
    return False
