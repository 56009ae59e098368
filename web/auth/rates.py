"""Requests in a minute, for each API key, or for each address where there are no keys."""

from __future__ import annotations

import ipaddress
import logging
import math
import time

from flask import Flask, g, request
from limits import RateLimitItemPerMinute
from limits.storage import RedisStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from redis import Redis, RedisError

from common import problems
from common.settings import Settings
from web.auth.access import NEEDS
from web.auth.security import SAFE_METHODS

log = logging.getLogger(__name__)


class Rates:
    """Counts requests in Redis, so that all web servers count together; lets all through while Redis is away."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        storage = RedisStorage("redis://", connection_pool=redis.connection_pool, key_prefix="rate")
        self._limiter = SlidingWindowCounterRateLimiter(storage)
        self._most = {"submit": settings.submits_per_minute, "read": settings.reads_per_minute}
        self._away = False

    def seconds_to_wait(self, who: str, what: str) -> int:
        """Count a request of `who`; 0 when it may pass, else the seconds after which it may come again."""
        if not self._most[what]:
            return 0
        item = RateLimitItemPerMinute(self._most[what])
        try:
            passes = self._limiter.hit(item, what, who)
            wait = 0 if passes else max(1, math.ceil(self._limiter.get_window_stats(item, what, who)[0] - time.time()))
            self._away = False
            return wait
        except RedisError as error:
            if not self._away:
                log.warning("Redis does not answer (%s); requests are not counted until it does.", error)
            self._away = True
            return 0


def limit(app: Flask, rates: Rates) -> None:
    """Hold each request of `app` to the rates, but for what is open to strangers, such as health checks."""

    @app.before_request
    def check() -> None:
        if request.endpoint is None or NEEDS.get(request.endpoint, "") is None:
            return
        who = _who()
        if who is None:
            return
        what = "read" if request.method in SAFE_METHODS else "submit"
        if wait := rates.seconds_to_wait(who, what):
            raise problems.RATE_LIMITED(
                f"These are more requests than are accepted in a minute. Send this again in {wait} s, and poll less "
                "often: `Prefer: wait=10` holds an answer until the caption is there.",
                retry_after=wait,
            )


def _who() -> str | None:
    """The key's name, else the address; None for this machine itself, whose programs are its owner's."""
    if g.key is not None:
        return f"key:{g.key.name}"
    address = request.remote_addr or ""
    try:
        return None if ipaddress.ip_address(address.partition("%")[0]).is_loopback else f"address:{address}"
    except ValueError:
        return f"address:{address}"
