"""Rate limits: requests per minute, for each API key, or for each IP address if no API keys exist."""

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
from web.auth.access import REQUIRED_SCOPES
from web.auth.security import SAFE_METHODS

log = logging.getLogger(__name__)


class RateLimiter:
    """Sliding-window counters in Redis, shared by all web servers. Allows every request while Redis is unavailable."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        storage = RedisStorage("redis://", connection_pool=redis.connection_pool, key_prefix="rate")
        self._limiter = SlidingWindowCounterRateLimiter(storage)
        self._limits = {"submit": settings.submits_per_minute, "read": settings.reads_per_minute}
        self._redis_down = False

    def hit(self, client: str, action: str) -> int:
        """Count a request of `client`; 0 if it is allowed, else the seconds after which the client may retry.

        `action` is `submit` or `read`; each has a limit of its own.
        """
        if not self._limits[action]:
            return 0
        item = RateLimitItemPerMinute(self._limits[action])
        try:
            retry_after = 0
            if not self._limiter.hit(item, action, client):
                reset_time = self._limiter.get_window_stats(item, action, client)[0]
                retry_after = max(1, math.ceil(reset_time - time.time()))
            self._redis_down = False
            return retry_after
        except RedisError as error:
            if not self._redis_down:
                log.warning("Redis is unavailable (%s). Rate limits are off until it answers.", error)
            self._redis_down = True
            return 0


def limit_rates(app: Flask, limiter: RateLimiter) -> None:
    """Apply the rate limits to each request of `app`, except to public endpoints such as health checks."""

    @app.before_request
    def limit_rate() -> None:
        if request.endpoint is None or REQUIRED_SCOPES.get(request.endpoint, "") is None:
            return
        client = _client()
        if client is None:
            return
        action = "read" if request.method in SAFE_METHODS else "submit"
        if retry_after := limiter.hit(client, action):
            raise problems.RATE_LIMITED(
                "Too many requests in a minute. Send this again in {retry_after} s, and poll less often: "
                "`Prefer: wait=10` delays a response until the caption is ready.",
                retry_after=retry_after,
                extensions={"retry_after": retry_after},
            )


def _client() -> str | None:
    """The name of the key, else the IP address; None for a loopback address, which is not limited."""
    if g.key is not None:
        return f"key:{g.key.name}"
    address = request.remote_addr or ""
    try:
        return None if ipaddress.ip_address(address.partition("%")[0]).is_loopback else f"address:{address}"
    except ValueError:
        return f"address:{address}"
