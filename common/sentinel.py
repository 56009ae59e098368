"""Redis behind Sentinels: `sentinel://[USER:PASSWORD@]HOST:26379,HOST2:26379/SERVICE/DB`.

The ledger and the broker take the same URL. User and password are those of Redis. Options after `?` are those of
redis-py's connections; besides, `ssl=true` encrypts the connections to Redis and to the Sentinels, and
`sentinel_username` and `sentinel_password` are those of the Sentinels.
"""

from __future__ import annotations

import contextlib
import threading
import time
import weakref
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelConnectionPool

from common.translation import _

SCHEME = "sentinel"
DEFAULT_PORT = 26379
INVALID = _(
    "A URL with Sentinels is sentinel://HOST:26379,HOST2:26379/SERVICE/0, with :PASSWORD@ or USER:PASSWORD@ before the "
    "first host if Redis needs it. In these, percent-encode reserved characters."
)
#: Timeout of a Sentinel in seconds. The next one is asked at once, without redis-py's pauses of seconds.
TIMEOUT = 1.0
NO_RETRY = Retry(NoBackoff(), 0)
#: Seconds between two questions which Redis is the primary.
FOLLOW_INTERVAL = 1.0


@dataclass(frozen=True)
class SentinelUrl:
    """A parsed URL. `options` are redis-py's for connections to Redis, `sentinel_options` those for Sentinels."""

    hosts: tuple[tuple[str, int], ...]
    service: str
    db: int
    username: str | None
    password: str | None
    options: dict[str, Any]
    sentinel_options: dict[str, Any]

    @classmethod
    def parse(cls, url: str) -> SentinelUrl:
        """Raises `ValueError`, whose message contains no part of the URL."""
        try:
            parts = urlsplit(url)
            service, _slash, db = parts.path.strip("/").partition("/")
            options = parse_url(f"redis://?{parts.query}")
            options["ssl"] = options.pop("ssl", "false") == "true" or "ssl_ca_certs" in options
            own = {name: options.pop(f"sentinel_{name}", None) for name in ("username", "password")}
            tls = {name: value for name, value in options.items() if name.startswith("ssl")}
            parsed = cls(
                tuple(_host(host) for host in parts.netloc.rpartition("@")[2].split(",")),
                unquote(service),
                int(db or 0),
                unquote(parts.username) if parts.username else None,
                unquote(parts.password) if parts.password else None,
                options,
                {**own, **tls, "socket_connect_timeout": TIMEOUT, "socket_timeout": TIMEOUT, "retry": NO_RETRY},
            )
            parsed._pooled_client().connection_pool.make_connection()  # does not connect
        except (ValueError, TypeError):
            raise ValueError(INVALID) from None
        if parts.scheme != SCHEME or parts.fragment or not service:
            raise ValueError(INVALID)
        return parsed

    def client(self, **options: Any) -> Redis:
        """A client of the current primary Redis with redis-py's `options`, unless the URL says otherwise.

        redis-py asks the Sentinels only for a new connection. A primary that was paused during a failover answers the
        old ones until a Sentinel demotes it, ten seconds later, and loses what it accepts meanwhile. So a thread asks
        once a second, whereupon redis-py closes the connections to a former primary.
        """
        client = self._pooled_client(**options)
        pool = weakref.ref(client.connection_pool)
        threading.Thread(target=_follow_primary, args=(pool,), name="sentinel", daemon=True).start()
        return client

    def _pooled_client(self, **options: Any) -> Redis:
        options = {"db": self.db, "username": self.username, "password": self.password, **options, **self.options}
        sentinels = Sentinel(self.hosts, sentinel_kwargs=self.sentinel_options)
        client: Redis = sentinels.master_for(self.service, **options)
        return client

    def broker_url(self) -> str:
        """The URL for Celery, which has one for each Sentinel, separated by semicolons."""
        user = quote(self.username or "", safe="")
        credentials = f"{user}:{quote(self.password, safe='')}@" if self.password else ""
        hosts = (f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts)
        return ";".join(f"{SCHEME}://{credentials}{host}/{self.db}" for host in hosts)

    def broker_options(self) -> dict[str, Any]:
        """Celery's `broker_transport_options` for `broker_url`, without timeouts."""
        return {"master_name": self.service, "sentinel_kwargs": self.sentinel_options}

    def broker_ssl(self) -> dict[str, Any] | None:
        """Celery's `broker_use_ssl` for `broker_url`; None without TLS."""
        options = {name: value for name, value in self.options.items() if name.startswith("ssl_")}
        return {"ssl_cert_reqs": "required", **options} if self.options["ssl"] else None


def _follow_primary(pool: weakref.ref[SentinelConnectionPool]) -> None:
    """Close idle connections to a former primary, until the pool is garbage."""
    while True:
        time.sleep(FOLLOW_INTERVAL)
        if (living := pool()) is None:
            return
        with contextlib.suppress(RedisError):
            living.get_master_address()
        del living


def _host(text: str) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    if not parts.hostname:
        raise ValueError
    return parts.hostname, parts.port or DEFAULT_PORT
