"""The choice of the Redis that `captiond serve` uses."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import quote

import pytest
from redis import Redis, RedisError

from cli import redis_server
from cli.serve import free_port
from common.settings import Settings


def test_a_configured_redis_is_not_started(tmp_path: Path) -> None:
    server = redis_server.choose(Settings(data=tmp_path, redis_url="redis://elsewhere:1/0"), 1)

    assert (server.url, server.command) == ("redis://elsewhere:1/0", None)


def test_a_private_redis_is_durable_and_never_evicts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_server, "find_server", lambda: "/usr/bin/redis-server")

    server = redis_server.choose(Settings(data=tmp_path), 1)

    assert server.command is not None
    command = " ".join(server.command)
    assert "--appendonly yes" in command and "--maxmemory-policy noeviction" in command
    assert "--port 0" in command  # no TCP port
    assert "--unixsocketperm 700" in command
    assert server.url == f"unix://{tmp_path}/redis/redis.sock"


def test_a_server_on_path_is_preferred_to_the_bundled_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/opt/{name}" if name == "valkey-server" else None)

    assert redis_server.find_server() == "/opt/valkey-server"


def test_a_long_data_path_gets_a_short_socket_path(tmp_path: Path) -> None:
    short, long = redis_server.socket_path(tmp_path), redis_server.socket_path(Path("/x" * 80))

    assert short == tmp_path / "redis.sock"
    assert len(str(long)) <= redis_server.MAX_SOCKET_PATH
    assert long != redis_server.socket_path(Path("/y" * 80))


@pytest.mark.parametrize("name", ["my data", "100%", "a#b", "a?b", "фото"])
def test_a_data_path_that_a_url_would_change_gets_a_socket_path_without_such_characters(
    tmp_path: Path, name: str
) -> None:
    settings = Settings(data=tmp_path / name)

    url = redis_server.choose(settings, free_port()).url

    assert url == quote(url, safe=":/")
    assert Settings(data=settings.data, redis_url=url).redis_location == url


def test_without_any_server_a_stand_in_warns_that_nothing_is_persistent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_server, "find_server", lambda: None)
    port = free_port()

    server = redis_server.choose(Settings(data=tmp_path), port)

    assert str(server.description).startswith("NO PERSISTENCE")
    assert server.command is not None and server.command[0] == sys.executable
    process = subprocess.Popen(server.command)
    try:
        assert _can_write(Redis.from_url(server.url))
    finally:
        process.terminate()
        process.wait()


def _can_write(redis: Redis) -> bool:
    for _ in range(100):
        try:
            redis.set("a", "b")
            return redis.get("a") == b"b"
        except RedisError:
            time.sleep(0.1)
    return False
