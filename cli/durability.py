"""Checks whether Redis keeps jobs: through a restart, a full disk and a memory limit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from redis import Redis, RedisError

from cli.findings import Finding
from common.translation import Message, _

#: Share of `maxmemory` above which the memory check fails.
MEMORY_WARNING = 0.9
#: What each `appendfsync` policy can lose.
FSYNC = {
    "always": _("no accepted job is lost, not even in a power cut"),
    "everysec": _("a power cut can lose the last second"),
    "no": _("a power cut can lose half a minute"),
}


def check_durability(redis: Redis) -> Iterator[Finding]:
    """Check version, append-only file, eviction policy and memory of a reachable Redis."""
    info = redis.info()
    version = info.get("redis_version") or _("of an unknown version")
    try:
        config = cast("dict[str, Any]", redis.config_get())
    except RedisError:  # hosted services often forbid CONFIG
        message = _("{version} answers; it does not allow CONFIG GET, so its settings are unknown.", version=version)
        yield Finding("redis", True, message)
    else:
        yield _persistence(version, config)
        policy = config.get("maxmemory-policy", "noeviction")
        if policy == "noeviction":
            yield Finding("eviction", True, Message("noeviction."))
        else:
            advice = _(
                "{policy}. Set `maxmemory-policy noeviction`, or Redis deletes jobs when its memory is full.",
                policy=policy,
            )
            yield Finding("eviction", False, advice)
    yield _last_write(info)
    yield _memory(info)


def _persistence(version: Message | str, config: dict[str, Any]) -> Finding:
    if config.get("appendonly") != "yes":
        message = _(
            "{version} answers; append-only file no. Set `appendonly yes`, or a restart loses the waiting jobs.",
            version=version,
        )
        return Finding("redis", False, message)
    fsync = str(config.get("appendfsync", "everysec"))
    values = {"version": version, "fsync": fsync, "meaning": FSYNC.get(fsync, _("unknown"))}
    if fsync == "no":
        return Finding(
            "redis",
            False,
            _(
                "{version} answers; append-only file yes, appendfsync {fsync}: {meaning}. Set `appendfsync everysec` "
                "or `always`.",
                **values,
            ),
        )
    message = _("{version} answers; append-only file yes, appendfsync {fsync}: {meaning}.", **values)
    return Finding("redis", True, message)


def _last_write(info: dict[str, Any]) -> Finding:
    failed = [name for name in ("aof_last_write_status", "aof_last_bgrewrite_status") if info.get(name, "ok") != "ok"]
    if failed:
        message = _(
            "the last write to the append-only file failed ({failed}). Redis refuses new jobs until it can write. If "
            "its disk is full, free some space.",
            failed=", ".join(failed),
        )
        return Finding("writes", False, message)
    return Finding("writes", True, _("the last append-only file write succeeded."))


def _memory(info: dict[str, Any]) -> Finding:
    used, limit = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    if not limit:
        return Finding("memory", True, _("{used} MB used, no limit.", used=round(used / 1e6)))
    values = {"used": round(used / 1e6), "limit": round(limit / 1e6)}
    if used <= MEMORY_WARNING * limit:
        return Finding("memory", True, _("{used} of {limit} MB used.", **values))
    message = _(
        "{used} of {limit} MB used. New jobs are refused when it is full: raise `maxmemory`, or shorten "
        "CAPTIOND_RETENTION.",
        **values,
    )
    return Finding("memory", False, message)
