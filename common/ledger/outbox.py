"""The outbox: webhooks that are due, given to one sender at a time until they are delivered or given up."""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import TypeVar, cast

from redis import Redis
from redis.client import Pipeline

from common.ledger import keys
from common.ledger.submission import host_of
from common.settings import Settings
from common.signing import new_secret

T = TypeVar("T")

#: Seconds for which a webhook belongs to who claimed it: more than an attempt takes with all around it.
LEASE = 30.0
#: Due hosts that are looked at for one whose turn it is: more than one process is busy with.
HOSTS_LOOKED_AT = 64


@dataclass(frozen=True)
class Delivery:
    """One attempt to tell `url` about the job or batch with this id; `since` is the Unix time of the event."""

    id: str
    type: str
    url: str
    since: float
    attempts: int
    lease_until: float

    @property
    def host(self) -> str:
        return host_of(self.url)


@dataclass(frozen=True)
class Standing:
    """How many webhooks are still to be delivered, how many were given up, and why the last of those."""

    waiting: int
    given_up: int
    last: str | None


class Outbox:
    """What is to be told. Methods raise `redis.RedisError` when Redis does not answer."""

    def __init__(self, redis: Redis, settings: Settings, clock: Callable[[], float]) -> None:
        self._redis = redis
        self._settings = settings
        self._clock = clock

    def secrets(self) -> list[str]:
        """What to sign with: the settings' secrets, or the one that the service made for itself, once."""
        if self._settings.webhook_secret:
            return self._settings.webhook_secret.split(",")
        self._redis.set(keys.WEBHOOK_SECRET, new_secret(), nx=True)
        return [cast("str", self._redis.get(keys.WEBHOOK_SECRET))]

    def claim(self, avoiding: Container[str] = ()) -> Delivery | None:
        """A due webhook, the oldest of a host that is not among `avoiding`, for `LEASE` seconds."""
        now = self._clock()
        hosts = cast("list[str]", self._redis.zrangebyscore(keys.WEBHOOK_HOSTS, 0, now, start=0, num=HOSTS_LOOKED_AT))
        claims = (self._claim_of(host, now) for host in hosts if host not in avoiding)
        return next((delivery for delivery in claims if delivery), None)

    def _claim_of(self, host: str, now: float) -> Delivery | None:
        # Whatever makes a webhook of this host due writes to `due` as well, so that the host's time cannot be set late
        # by a transaction that did not see it.
        due = keys.webhooks_to(host)

        def body(pipe: Pipeline) -> Delivery | None:
            oldest = cast("list[tuple[str, float]]", pipe.zrange(due, 0, 1, withscores=True))
            if not oldest or oldest[0][1] > now:  # claimed by another, or settled, since the host became due
                pipe.multi()
                _look_again(pipe, host, [at for _, at in oldest])
                return None
            about, lease_until = oldest[0][0], now + LEASE
            fields = cast("dict[str, str]", pipe.hgetall(keys.webhook(about)))
            pipe.multi()
            pipe.hincrby(keys.webhook(about), "attempts")
            pipe.zadd(due, {about: lease_until})
            _look_again(pipe, host, [lease_until, *(at for _, at in oldest[1:])])
            return Delivery(
                id=about,
                type=fields["type"],
                url=fields["url"],
                since=float(fields["since"]),
                attempts=int(fields.get("attempts", 0)) + 1,
                lease_until=lease_until,
            )

        return _transaction(self._redis, body, due)

    def delivered(self, delivery: Delivery) -> None:
        """Forget it: it was delivered, or there is nothing to tell any more."""
        self._settle(delivery, lambda pipe: _forget(pipe, delivery))

    def postpone(self, delivery: Delivery, seconds: float, why: str) -> None:
        """Have it tried again after so many seconds."""
        now = self._clock()

        def write(pipe: Pipeline) -> None:
            pipe.hset(keys.webhook(delivery.id), "why", why)
            pipe.zadd(keys.webhooks_to(delivery.host), {delivery.id: now + seconds})
            _look_again(pipe, delivery.host, [now])  # others of the host may be due sooner

        self._settle(delivery, write)

    def give_up(self, delivery: Delivery, why: str) -> None:
        """Try it no more; what it was stays to be seen for as long as a job."""
        now, keep = self._clock(), self._settings.retention

        def write(pipe: Pipeline) -> None:
            pipe.hset(keys.webhook(delivery.id), "why", why)
            pipe.expire(keys.webhook(delivery.id), int(keep) + 1)
            pipe.zrem(keys.webhooks_to(delivery.host), delivery.id)
            pipe.zadd(keys.WEBHOOKS_GIVEN_UP, {delivery.id: now})
            pipe.zremrangebyscore(keys.WEBHOOKS_GIVEN_UP, 0, now - keep)

        self._settle(delivery, write)

    def standing(self) -> Standing:
        """What a person should know of the outbox."""
        pipe = self._redis.pipeline(transaction=False)
        for host in cast("list[str]", self._redis.zrange(keys.WEBHOOK_HOSTS, 0, -1)):
            pipe.zcard(keys.webhooks_to(host))
        waiting = sum(pipe.execute())
        self._redis.zremrangebyscore(keys.WEBHOOKS_GIVEN_UP, 0, self._clock() - self._settings.retention)
        newest = cast("list[str]", self._redis.zrange(keys.WEBHOOKS_GIVEN_UP, -1, -1))
        last = None
        if newest and (fields := cast("dict[str, str]", self._redis.hgetall(keys.webhook(newest[0])))):
            last = f"{host_of(fields['url'])}: {fields['why']}"
        return Standing(waiting, self._redis.zcard(keys.WEBHOOKS_GIVEN_UP), last)

    def _settle(self, delivery: Delivery, write: Callable[[Pipeline], None]) -> None:
        """`write`, but only while the claim holds: the fence against a sender that was thought dead."""
        due = keys.webhooks_to(delivery.host)

        def body(pipe: Pipeline) -> None:
            holds = pipe.zscore(due, delivery.id) == delivery.lease_until
            pipe.multi()
            if holds:
                write(pipe)

        _transaction(self._redis, body, due)


def _look_again(pipe: Pipeline, host: str, due: list[float]) -> None:
    """Note when the earliest of a host's webhooks is due, if it has any."""
    if due:
        pipe.zadd(keys.WEBHOOK_HOSTS, {host: min(due)})
    else:
        pipe.zrem(keys.WEBHOOK_HOSTS, host)


def _forget(pipe: Pipeline, delivery: Delivery) -> None:
    pipe.delete(keys.webhook(delivery.id))
    pipe.zrem(keys.webhooks_to(delivery.host), delivery.id)
    pipe.zrem(keys.WEBHOOKS_GIVEN_UP, delivery.id)


def _transaction(redis: Redis, body: Callable[[Pipeline], T], *watched: str) -> T:
    """Run `body` between WATCH and EXEC, again for as long as another client changes what is watched."""
    # redis-py annotates the function as returning None, though `value_from_callable` hands its value on.
    return cast("T", redis.transaction(cast("Callable[[Pipeline], None]", body), *watched, value_from_callable=True))
