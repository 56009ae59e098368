"""`captiond doctor`: looks at Redis, disk, model and queue, and says in plain words what to do."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

from redis import Redis, RedisError

from cli.redis_server import running_url
from common import exposure
from common.jobs import Status
from common.keyring import Keyring
from common.ledger import Ledger, Outbox, Workers, connect
from common.settings import PROJECT_ROOT, Settings

#: Less free disk than this is worth a word, in bytes.
LOW_DISK = 2**30
#: A job that has waited for this long is worth a word, in seconds.
LONG_WAIT = 300.0
PACKAGES = ("captiond", "torch", "transformers", "celery", "redis", "flask", "pillow")


@dataclass(frozen=True)
class Finding:
    """What was looked at, whether it is well, and in words."""

    subject: str
    well: bool
    words: str


def doctor(settings: Settings) -> int:
    """Print the findings; 1 when something needs attention."""
    findings = [*look_around(settings), *look_at_redis(settings)]
    for finding in findings:
        print(f"{'ok  ' if finding.well else 'LOOK'}  {finding.subject:<9} {finding.words}")
    return int(not all(finding.well for finding in findings))


def look_around(settings: Settings) -> Iterator[Finding]:
    """This machine: versions, disk, model files."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    yield Finding("versions", True, f"Python {platform.python_version()}, {versions}")
    folder = next(path for path in (settings.data.absolute(), *settings.data.absolute().parents) if path.exists())
    free = shutil.disk_usage(folder).free
    advice = "" if free > LOW_DISK else " Make room, or uploads will be refused with 507."
    yield Finding("disk", free > LOW_DISK, f"{free / 1e9:.1f} GB free in {folder}.{advice}")
    yield access(settings)
    if settings.model != "auto":
        yield Finding("model", True, f"CAPTIOND_MODEL names {settings.model}.")
    elif (PROJECT_ROOT / "student_epoch6.pt").exists():
        yield Finding("model", True, "student_epoch6.pt is in the project's root.")
    else:
        fetched = (settings.data / "models" / "student_epoch6.pt").exists()
        words = "was fetched." if fetched else "is not here; without it, the small demo model captions."
        yield Finding("model", True, f"student_epoch6.pt {words}")


def access(settings: Settings) -> Finding:
    """Who may use the service."""
    if (why := exposure.refusal(settings)) is not None:
        return Finding("access", False, why)
    if Keyring(settings).needed:
        return Finding("access", True, "only with an API key; captiond keys list shows them.")
    if exposure.is_loopback(settings.host):
        return Finding("access", True, "this machine only, without keys.")
    return Finding("access", True, f"whoever reaches {settings.host}, as --insecure says; keys would change that.")


def look_at_redis(settings: Settings) -> Iterator[Finding]:
    """The ledger: reachable, durable, and what stands in it."""
    redis = connect(running_url(settings))
    try:
        redis.ping()
    except RedisError as error:
        words = f"does not answer ({error}). Start the service with captiond serve, or set CAPTIOND_REDIS_URL."
        yield Finding("redis", False, words)
        return
    yield from _durability(redis)
    yield from _queue(redis, settings)


def _durability(redis: Redis) -> Iterator[Finding]:
    try:
        config = cast("dict[str, Any]", redis.config_get())
    except RedisError:  # hosted services often forbid it
        yield Finding("redis", True, "answers; it does not tell its configuration.")
        return
    durable = config.get("appendonly") == "yes"
    advice = "" if durable else " Set `appendonly yes`, or a restart loses the jobs that wait."
    yield Finding("redis", durable, f"answers; append-only file {config.get('appendonly')}.{advice}")
    policy = config.get("maxmemory-policy", "noeviction")
    keeps = policy == "noeviction"
    advice = "" if keeps else " Set `maxmemory-policy noeviction`, or jobs vanish when memory is short."
    yield Finding("eviction", keeps, f"{policy}.{advice}")


def _queue(redis: Redis, settings: Settings) -> Iterator[Finding]:
    ledger, now = Ledger(redis, settings), time.time()
    workers = Workers(redis, settings).alive()
    heard = ", ".join(f"{worker.name} with {worker.model.name}" for worker in workers)
    words = heard or "none is heard. Start one with captiond serve or celery -A worker worker."
    yield Finding("workers", bool(workers), words)
    counts = ledger.counts()
    yield Finding("jobs", True, ", ".join(f"{count} {status.value}" for status, count in counts.items()))
    oldest = ledger.oldest(Status.QUEUED)
    waited = now - oldest.created_at.timestamp() if oldest else 0.0
    stuck = waited > LONG_WAIT
    words = f"the oldest has waited for {waited:.0f} s." if oldest else "none waits."
    advice = " Start more workers, or look at the worker's log." if stuck else ""
    yield Finding("waiting", not stuck, words + advice)
    webhooks = Outbox(redis, settings).standing()
    last = f"; the last to {webhooks.last}" if webhooks.last else ""
    yield Finding("webhooks", True, f"{webhooks.waiting} to be delivered, {webhooks.given_up} given up{last}.")
