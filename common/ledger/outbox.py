"""Webhook outbox: events that are due, leased to one sender at a time until delivered or given up."""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import TypeVar, cast

from redis import Redis
from redis.client import Pipeline

from common.ledger import keys
from common.ledger.counters import Counters
from common.ledger.submission import host_of
from common.logs import Subject
from common.settings import Settings
from common.signing import new_secret

T = TypeVar("T")

#: Length of a sender's lease in seconds; longer than one attempt with its Redis commands.
LEASE_SECONDS = 30.0
#: Due hosts checked per claim; more than one process can be busy with.
HOST_SCAN_LIMIT = 64


@dataclass(frozen=True)
class Delivery:
    """One delivery attempt. `id` is that of the job or batch, `since` the Unix time of the event."""

    id: str
    type: str
    url: str
    since: float
    attempts: int
    lease_until: float

    @property
    def host(self) -> str:
        return host_of(self.url)

    @property
    def of_batch(self) -> bool:
        return self.type.startswith("batch.")

    @property
    def subject(self) -> Subject:
        """The job or batch for log lines."""
        return Subject(batch_id=self.id) if self.of_batch else Subject(self.id)


@dataclass(frozen=True)
class OutboxStatus:
    """Number of undelivered webhooks, number of webhooks given up, and the reason of the last one."""

    waiting: int
    given_up: int
    last: str | None


class Outbox:
    """Undelivered webhook events. Methods raise `redis.RedisError` when Redis does not answer."""

    def __init__(self, redis: Redis, settings: Settings, clock: Callable[[], float], counters: Counters) -> None:
        self._redis = redis
        self._settings = settings
        self._clock = clock
        self._counters = counters

    def secrets(self) -> list[str]:
        """Signing secrets: those of the settings, or one that the service generates once and stores."""
        if self._settings.webhook_secret:
            return self._settings.webhook_secret.split(",")
        self._redis.set(keys.WEBHOOK_SECRET, new_secret(), nx=True)
        return [cast("str", self._redis.get(keys.WEBHOOK_SECRET))]

    def claim(self, excluded_hosts: Container[str] = ()) -> Delivery | None:
        """Lease the oldest due webhook of a host that is not excluded, for `LEASE_SECONDS`; None if none is due."""
        now = self._clock()
        hosts = cast("list[str]", self._redis.zrangebyscore(keys.WEBHOOK_HOSTS, 0, now, start=0, num=HOST_SCAN_LIMIT))
        claims = (self._claim_for_host(host, now) for host in hosts if host not in excluded_hosts)
        return next((delivery for delivery in claims if delivery), None)

    def _claim_for_host(self, host: str, now: float) -> Delivery | None:
        # Every script that makes a webhook of this host due also writes to `due`. WATCH on `due` therefore keeps this
        # transaction from setting the host's next check too late.
        due = keys.webhooks_to(host)

        def body(pipe: Pipeline) -> Delivery | None:
            oldest = cast("list[tuple[str, float]]", pipe.zrange(due, 0, 1, withscores=True))
            if not oldest or oldest[0][1] > now:  # another sender claimed or settled it meanwhile
                pipe.multi()
                _schedule_host(pipe, host, [at for _, at in oldest])
                return None
            subject_id, lease_until = oldest[0][0], now + LEASE_SECONDS
            fields = cast("dict[str, str]", pipe.hgetall(keys.webhook(subject_id)))
            pipe.multi()
            pipe.hincrby(keys.webhook(subject_id), "attempts")
            pipe.zadd(due, {subject_id: lease_until})
            _schedule_host(pipe, host, [lease_until, *(at for _, at in oldest[1:])])
            return Delivery(
                id=subject_id,
                type=fields["type"],
                url=fields["url"],
                since=float(fields["since"]),
                attempts=int(fields.get("attempts", 0)) + 1,
                lease_until=lease_until,
            )

        return _transaction(self._redis, body, due)

    def delivered(self, delivery: Delivery) -> None:
        """Remove a webhook that was delivered."""
        self._settle(delivery, "delivered", lambda pipe: _remove(pipe, delivery))

    def drop(self, delivery: Delivery) -> None:
        """Remove a webhook whose job or batch was deleted."""
        self._settle(delivery, "dropped", lambda pipe: _remove(pipe, delivery))

    def postpone(self, delivery: Delivery, seconds: float, reason: str) -> None:
        """Schedule the next attempt in `seconds`."""
        now = self._clock()

        def write(pipe: Pipeline) -> None:
            pipe.hset(keys.webhook(delivery.id), "why", reason)
            pipe.zadd(keys.webhooks_to(delivery.host), {delivery.id: now + seconds})
            _schedule_host(pipe, delivery.host, [now])  # the host's other webhooks may be due sooner

        self._settle(delivery, "postponed", write)

    def give_up(self, delivery: Delivery, reason: str) -> None:
        """Stop retrying the webhook; its record is kept for `retention`, to be inspected."""
        now, retention = self._clock(), self._settings.retention

        def write(pipe: Pipeline) -> None:
            pipe.hset(keys.webhook(delivery.id), "why", reason)
            pipe.expire(keys.webhook(delivery.id), int(retention) + 1)
            pipe.zrem(keys.webhooks_to(delivery.host), delivery.id)
            pipe.zadd(keys.WEBHOOKS_GIVEN_UP, {delivery.id: now})
            pipe.zremrangebyscore(keys.WEBHOOKS_GIVEN_UP, 0, now - retention)

        self._settle(delivery, "given-up", write)

    def status(self) -> OutboxStatus:
        """Summary of the outbox for operators."""
        pipe = self._redis.pipeline(transaction=False)
        for host in cast("list[str]", self._redis.zrange(keys.WEBHOOK_HOSTS, 0, -1)):
            pipe.zcard(keys.webhooks_to(host))
        waiting = sum(pipe.execute())
        self._redis.zremrangebyscore(keys.WEBHOOKS_GIVEN_UP, 0, self._clock() - self._settings.retention)
        newest = cast("list[str]", self._redis.zrange(keys.WEBHOOKS_GIVEN_UP, -1, -1))
        last = None
        if newest and (fields := cast("dict[str, str]", self._redis.hgetall(keys.webhook(newest[0])))):
            last = f"{host_of(fields['url'])}: {fields['why']}"
        return OutboxStatus(waiting, self._redis.zcard(keys.WEBHOOKS_GIVEN_UP), last)

    def _settle(self, delivery: Delivery, outcome: str, write: Callable[[Pipeline], None]) -> None:
        """Run `write` only while the lease is valid; this fences off a sender whose lease has expired."""
        due = keys.webhooks_to(delivery.host)

        def body(pipe: Pipeline) -> bool:
            valid = bool(pipe.zscore(due, delivery.id) == delivery.lease_until)
            pipe.multi()
            if valid:
                write(pipe)
            return valid

        if _transaction(self._redis, body, due):
            self._counters.count(f"webhook:{outcome}")


def _schedule_host(pipe: Pipeline, host: str, due: list[float]) -> None:
    """Set the host's next check to its earliest due time, or remove a host without webhooks."""
    if due:
        pipe.zadd(keys.WEBHOOK_HOSTS, {host: min(due)})
    else:
        pipe.zrem(keys.WEBHOOK_HOSTS, host)


def _remove(pipe: Pipeline, delivery: Delivery) -> None:
    pipe.delete(keys.webhook(delivery.id))
    pipe.zrem(keys.webhooks_to(delivery.host), delivery.id)
    pipe.zrem(keys.WEBHOOKS_GIVEN_UP, delivery.id)


def _transaction(redis: Redis, body: Callable[[Pipeline], T], *watched: str) -> T:
    """Run `body` between WATCH and EXEC; repeat it while other clients change the watched keys."""
    # redis-py annotates `body` as returning None, although `value_from_callable` returns its value.
    return cast("T", redis.transaction(cast("Callable[[Pipeline], None]", body), *watched, value_from_callable=True))
