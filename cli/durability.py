"""Whether Redis would keep the jobs: through a restart, a full disk, and when memory is short."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from redis import Redis, RedisError

from cli.findings import Finding

#: More of its memory than this being used is worth a word, as a share of `maxmemory`.
NEARLY_FULL = 0.9
FSYNC = {
    "always": "no accepted job is lost, not even in a power cut",
    "everysec": "a power cut can lose the last second",
    "no": "a power cut can lose half a minute",
}


def look_at_durability(redis: Redis) -> Iterator[Finding]:
    """Version, append-only file, eviction and memory of a Redis that answers."""
    found = redis.info()
    version = f"{found.get('redis_version', 'of an unknown version')}"
    try:
        config = cast("dict[str, Any]", redis.config_get())
    except RedisError:  # hosted services often forbid it
        yield Finding("redis", True, f"{version} answers; it does not tell its configuration.")
    else:
        yield _kept(version, config)
        policy = config.get("maxmemory-policy", "noeviction")
        keeps = policy == "noeviction"
        advice = "" if keeps else " Set `maxmemory-policy noeviction`, or jobs vanish when memory is short."
        yield Finding("eviction", keeps, f"{policy}.{advice}")
    yield _written(found)
    yield _memory(found)


def _kept(version: str, config: dict[str, Any]) -> Finding:
    if config.get("appendonly") != "yes":
        words = f"{version} answers; append-only file no. Set `appendonly yes`, or a restart loses the jobs that wait."
        return Finding("redis", False, words)
    fsync = str(config.get("appendfsync", "everysec"))
    advice = " Set `appendfsync everysec` or `always`." if fsync == "no" else ""
    words = f"{version} answers; append-only file yes, appendfsync {fsync}: {FSYNC.get(fsync, 'unknown')}.{advice}"
    return Finding("redis", fsync != "no", words)


def _written(found: dict[str, Any]) -> Finding:
    failed = [name for name in ("aof_last_write_status", "aof_last_bgrewrite_status") if found.get(name, "ok") != "ok"]
    if failed:
        advice = "Is its disk full? It refuses new jobs until it can write; make room, it goes on by itself."
        return Finding("writes", False, f"the last write to its file failed ({', '.join(failed)}). {advice}")
    return Finding("writes", True, "the last write to its file went well.")


def _memory(found: dict[str, Any]) -> Finding:
    used, most = int(found.get("used_memory", 0)), int(found.get("maxmemory", 0))
    if not most:
        return Finding("memory", True, f"{used / 1e6:.0f} MB used, no limit.")
    full = used > NEARLY_FULL * most
    advice = " New jobs are refused when it is full: raise `maxmemory`, or shorten CAPTIOND_RETENTION." if full else ""
    return Finding("memory", not full, f"{used / 1e6:.0f} of {most / 1e6:.0f} MB used.{advice}")
