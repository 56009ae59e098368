"""`captiond serve`: Redis, one worker and the web server under one supervisor."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import urllib.error
import urllib.request

from filelock import FileLock, Timeout
from redis import Redis, RedisError

from cli import instance_lock, redis_server
from cli.supervisor import ManagedProcess, Supervisor
from common import exposure, folders, listening, urls
from common.folders import FolderError
from common.ledger import Components, connect
from common.listening import ListenError
from common.settings import PROJECT_ROOT, Settings

#: Log lines of the worker and the web server that a person should see: what went wrong, and which model it is.
SHOWN = (
    " WARNING ",
    " ERROR ",
    " CRITICAL ",
    " captioning.weights: ",
    " captioning.captioner: ",
    " captioning.download: ",
)
#: How far the worker steps back for others: captioning takes every core there is, and an answer should not wait for it.
NICENESS = "10"


def serve(settings: Settings) -> int:
    """Run until Ctrl-C or SIGTERM; the exit code."""
    data = settings.data.absolute()
    lock = FileLock(data / "serve.lock", timeout=0)
    try:
        folders.check_data_folder(settings)
        if (why := exposure.refusal(settings)) is not None:
            return _refuse(why)
        data.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        return _refuse(f"Another captiond serves from {data} already. Stop it, or choose another --data.")
    except FolderError as error:
        return _refuse(str(error))
    except OSError as error:
        return _refuse(str(folders.data_folder_error(settings, error.strerror)))
    with lock:
        held = instance_lock.hold(data / "parts.lock", _emit)
        if held is None:
            return _refuse(f"Parts of an earlier captiond that was killed still use {data}. End them, then try again.")
        try:
            return _supervise(settings, held)
        finally:
            os.close(held)


def _supervise(settings: Settings, held: int) -> int:
    try:
        port = usable_port(settings)
    except ListenError as error:
        return _refuse(str(error))
    server = redis_server.choose(settings, free_port())
    settings = settings.model_copy(update={"data": settings.data.absolute(), "port": port, "redis_url": server.url})
    redis = connect(server.url)
    supervisor = Supervisor(settings.environment(), settings.data / "logs", say=_emit, inherited=[held])
    supervisor.stop_on_signals()
    try:
        if server.command:
            store = ManagedProcess(
                "redis", server.command, lambda pid: server.about if answers(redis) else None, patience=15
            )
            supervisor.start(store)
            if not supervisor.wait_ready(store):
                return 0
        elif not answers(redis):
            return _refuse(
                f"No Redis answers at {urls.without_secrets(server.url)}. Start it, or unset CAPTIOND_REDIS_URL."
            )
        supervisor.start(worker_part(redis, settings))
        supervisor.start(web_part(settings))
        supervisor.run(lambda: _emit(f"captiond is at {address(settings)} (Ctrl-C stops it)"))
    finally:
        supervisor.stop()
    return 0


def worker_part(redis: Redis, settings: Settings) -> ManagedProcess:
    """The worker; ready when the ledger has heard it with its model loaded."""
    workers = Components(redis, settings).workers

    def ready(pid: int) -> str | None:
        try:
            alive = {worker.name: worker for worker in workers.alive()}
        except RedisError:
            return None
        worker = alive.get(f"{socket.gethostname()}-{pid}")
        return f"captioning with {worker.model.name}" if worker else None

    command = ["nice", "-n", NICENESS, sys.executable, "-m", "celery", "--workdir", str(PROJECT_ROOT)]
    command += ["-A", "worker", "worker"]
    return ManagedProcess("worker", command, ready, patience=45, shown=should_show)


def web_part(settings: Settings) -> ManagedProcess:
    """The web server; ready when it answers."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # whatever http_proxy says

    def ready(pid: int) -> str | None:
        try:
            with opener.open(f"{address(settings)}/healthz", timeout=1):
                return address(settings)
        except (urllib.error.URLError, OSError):
            return None

    return ManagedProcess("web", [sys.executable, "-m", "web"], ready, patience=30, shown=should_show)


def should_show(line: str) -> bool:
    """Whether a log line belongs on the terminal, too."""
    return any(mark in line for mark in SHOWN)


def answers(redis: Redis) -> bool:
    try:
        return bool(redis.ping())
    except RedisError:
        return False


def usable_port(settings: Settings) -> int:
    """The port that the web server can listen on, a free one for port 0; raises `ListenError`."""
    sockets = listening.listen(settings.host, settings.port)
    port = int(sockets[0].getsockname()[1])
    listening.close(sockets)
    return port


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def address(settings: Settings) -> str:
    """Where a browser on this machine finds the page."""
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::", "") else settings.host
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


def _emit(line: str) -> None:
    with contextlib.suppress(OSError):  # the terminal or the pipe is gone: the service goes on without it
        print(line, flush=True)


def _refuse(sentence: str) -> int:
    print(sentence, file=sys.stderr)
    return 1
