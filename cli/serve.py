"""`captiond serve`: Redis, one worker and the web server under one supervisor."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import socket
import sys
import sysconfig
import urllib.error
import urllib.request

from filelock import FileLock, Timeout
from redis import Redis, RedisError

from cli import instance_lock, redis_server
from cli.output import local, warn
from cli.supervisor import ManagedProcess, Supervisor
from common import exposure, folders, listening, urls
from common.folders import FolderError
from common.ledger import Components, connect
from common.listening import ListenError
from common.settings import PROJECT_ROOT, Settings
from common.translation import Message, _

#: Log lines of the worker and the web server with one of these levels or loggers are shown on the terminal: problems,
#: and the model. The marks are those of text and of JSON, which escapes quotes in messages.
SHOWN_LEVELS = ("WARNING", "ERROR", "CRITICAL")
SHOWN_LOGGERS = ("captioning.weights", "captioning.student.captioner", "captioning.download")
SHOWN_MARKS = (
    *(f" {level} " for level in SHOWN_LEVELS),
    *(f'"level": "{level}"' for level in SHOWN_LEVELS),
    *(f" {logger}: " for logger in SHOWN_LOGGERS),
    *(f'"logger": "{logger}"' for logger in SHOWN_LOGGERS),
)
#: The worker's niceness: captioning uses all cores, and the web server's answers should not wait for it.
WORKER_NICENESS = "10"


def serve(settings: Settings) -> int:
    """Run the service until Ctrl-C or SIGTERM; return the exit code."""
    data = settings.data.absolute()
    lock = FileLock(data / "serve.lock", timeout=0)
    try:
        folders.check_data_folder(settings)
        if (refusal := exposure.refusal(settings)) is not None:
            return _refuse(refusal)
        data.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        return _refuse(
            _("Another captiond already uses {folder}. Stop it, or choose another --data.", folder=str(data))
        )
    except FolderError as error:
        return _refuse(error)
    except OSError as error:
        return _refuse(folders.data_folder_error(settings, error.strerror))
    with lock:
        lock_fd = instance_lock.acquire(data / "parts.lock", _emit)
        if lock_fd is None:
            return _refuse(
                _(
                    "Processes of an earlier captiond that was killed still use {folder}. Stop them first.",
                    folder=str(data),
                )
            )
        try:
            return _supervise(settings, lock_fd)
        finally:
            os.close(lock_fd)


def _supervise(settings: Settings, lock_fd: int) -> int:
    try:
        port = usable_port(settings)
    except ListenError as error:
        return _refuse(error)
    server = redis_server.choose(settings, free_port())
    settings = settings.model_copy(update={"data": settings.data.absolute(), "port": port, "redis_url": server.url})
    redis = connect(server.url)
    supervisor = Supervisor(settings.environment(), settings.data / "logs", emit=_emit, inherited=[lock_fd])
    supervisor.stop_on_signals()
    try:
        if server.command:
            managed = ManagedProcess(
                "redis", server.command, lambda pid: server.description if answers(redis) else None, stop_timeout=15
            )
            supervisor.start(managed)
            if not supervisor.wait_ready(managed):
                return 0
        elif not answers(redis):
            return _refuse(
                _(
                    "No Redis answers at {url}. Start it, or unset CAPTIOND_REDIS_URL.",
                    url=urls.without_secrets(server.url),
                )
            )
        supervisor.start(worker_process(redis, settings))
        supervisor.start(web_process(settings))
        supervisor.run(lambda: _say_where(settings))
    finally:
        supervisor.stop()
    return 0


def worker_process(redis: Redis, settings: Settings) -> ManagedProcess:
    """The worker; ready when it has announced itself in Redis, which it does when its model is loaded."""
    workers = Components(redis, settings).workers

    def ready(pid: int) -> Message | None:
        try:
            alive = {worker.name: worker for worker in workers.alive()}
        except RedisError:
            return None
        worker = alive.get(f"{socket.gethostname()}-{pid}")
        return _("captioning with {model}", model=worker.model.name) if worker else None

    command = ["nice", "-n", WORKER_NICENESS, sys.executable, "-m", "celery", "--workdir", str(PROJECT_ROOT)]
    command += ["-A", "worker", "worker"]
    return ManagedProcess("worker", command, ready, stop_timeout=45, show=should_show)


def web_process(settings: Settings) -> ManagedProcess:
    """The web server; ready when `/healthz` answers."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # ignores http_proxy

    def ready(pid: int) -> str | None:
        try:
            with opener.open(f"{page_url(settings)}/healthz", timeout=1):
                return page_url(settings)
        except (urllib.error.URLError, OSError):
            return None

    return ManagedProcess("web", [sys.executable, "-m", "web"], ready, stop_timeout=30, show=should_show)


def should_show(line: str) -> bool:
    """Whether a log line is also shown on the terminal."""
    return any(mark in line for mark in SHOWN_MARKS)


def answers(redis: Redis) -> bool:
    """Whether Redis answers a PING."""
    try:
        return bool(redis.ping())
    except RedisError:
        return False


def usable_port(settings: Settings) -> int:
    """The port for the web server: the configured one, or a free one for port 0. Raises `ListenError`."""
    sockets = listening.listen(settings.host, settings.port)
    port = int(sockets[0].getsockname()[1])
    listening.close(sockets)
    return port


def free_port() -> int:
    """A TCP port of 127.0.0.1 that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def page_url(settings: Settings) -> str:
    """The URL of the page for a browser on this machine."""
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::", "") else settings.host
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


def _say_where(settings: Settings) -> None:
    for line in ready_lines(settings):
        _emit(line)


def ready_lines(settings: Settings) -> list[object]:
    """Where the service is, and what to try first: a request to the API, and a folder from the command line."""
    url = page_url(settings)
    installed = os.path.relpath(os.path.join(sysconfig.get_path("scripts"), "captiond"))
    captiond = "captiond" if shutil.which("captiond") else shlex.quote(installed)
    key = '-H "Authorization: Bearer $CAPTIOND_KEY" ' if exposure.configured_keyring(settings).needed else ""
    request = f"curl {key}-H 'Prefer: wait=60' -F image=@photo.jpg {url}/v1/jobs"
    folder = f"{captiond} batch photos --url {url} --out captions.jsonl"
    return [
        _("captiond is at {url} (Ctrl-C stops it)", url=url),
        _("Try: {command}", command=request),
        _(" or: {command}", command=folder),
    ]


def _emit(line: object) -> None:
    with contextlib.suppress(OSError):  # the terminal or pipe was closed; the service keeps running
        print(local(line), flush=True)


def _refuse(reason: object) -> int:
    warn(reason)
    return 1
