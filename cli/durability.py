"""Checks whether Redis keeps jobs: through a restart, a full disk and a memory limit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from redis import Redis, RedisError

from cli.findings import Finding

#: Share of `maxmemory` above which the memory check fails.
MEMORY_WARNING = 0.9
#: What each `appendfsync` policy can lose.
FSYNC = {
    "always": "no accepted job is lost, not even in a power cut",
    "everysec": "a power cut can lose the last second",
    "no": "a power cut can lose half a minute",
}


def check_durability(redis: Redis) -> Iterator[Finding]:
    """Check version, append-only file, eviction policy and memory of a reachable Redis."""
    info = redis.info()
    version = str(info.get("redis_version", "of an unknown version"))
    try:
        config = cast("dict[str, Any]", redis.config_get())
    except RedisError:  # hosted services often forbid CONFIG
        yield Finding("redis", True, f"{version} answers; it does not allow CONFIG GET, so its settings are unknown.")
    else:
        yield _persistence(version, config)
        policy = config.get("maxmemory-policy", "noeviction")
        ok = policy == "noeviction"
        advice = "" if ok else " Set `maxmemory-policy noeviction`, or Redis deletes jobs when its memory is full."
        yield Finding("eviction", ok, f"{policy}.{advice}")
    yield _last_write(info)
    yield _memory(info)


def _persistence(version: str, config: dict[str, Any]) -> Finding:
    if config.get("appendonly") != "yes":
        message = f"{version} answers; append-only file no. Set `appendonly yes`, or a restart loses the waiting jobs."
        return Finding("redis", False, message)
    fsync = str(config.get("appendfsync", "everysec"))
    advice = " Set `appendfsync everysec` or `always`." if fsync == "no" else ""
    message = f"{version} answers; append-only file yes, appendfsync {fsync}: {FSYNC.get(fsync, 'unknown')}.{advice}"
    return Finding("redis", fsync != "no", message)


def _last_write(info: dict[str, Any]) -> Finding:
    failed = [name for name in ("aof_last_write_status", "aof_last_bgrewrite_status") if info.get(name, "ok") != "ok"]
    if failed:
        advice = "Redis refuses new jobs until it can write. If its disk is full, free some space."
        return Finding(
            "writes", False, f"the last write to the append-only file failed ({', '.join(failed)}). {advice}"
        )
    return Finding("writes", True, "the last append-only file write succeeded.")


def _memory(info: dict[str, Any]) -> Finding:
    used, limit = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    if not limit:
        return Finding("memory", True, f"{used / 1e6:.0f} MB used, no limit.")
    full = used > MEMORY_WARNING * limit
    advice = " New jobs are refused when it is full: raise `maxmemory`, or shorten CAPTIOND_RETENTION." if full else ""
    return Finding("memory", not full, f"{used / 1e6:.0f} of {limit / 1e6:.0f} MB used.{advice}")
