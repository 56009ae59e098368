"""The ledger and the broker reach Redis with TLS, passwords, an ACL user, and through Sentinels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import RedisError

from common.jobs import Status, new_id
from common.ledger import Components, NewJob, connect
from common.queue import is_broker_reachable, make_celery, notify, pending_notifications
from common.settings import Settings
from tests.support.images import IMAGE
from tests.support.replication import ReplicatedRedis, Tls
from web.auth.rates import RateLimiter

PASSWORD = "p@ss/w:rd"
ENCODED = "p%40ss%2Fw%3Ard"
#: The rights of an ACL user, as docs/operations.md has them.
RIGHTS = "~* &* +@all -@admin -@dangerous +info +config|get"


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReplicatedRedis]:
    """Redis and a Sentinel with TLS, a password of Redis and another one of the Sentinel."""
    folder = tmp_path_factory.mktemp("secured")
    try:
        redis = ReplicatedRedis(
            folder, replicas=0, sentinels=1, password=PASSWORD, sentinel_password="watch", tls=Tls(folder)
        )
    except LookupError as error:
        pytest.skip(str(error))
    with redis.running():
        yield redis


def assert_usable(url: str) -> None:
    """Fail unless a job can be recorded, a worker notified of it, and a request counted."""
    settings = Settings(redis_url=url)
    redis, celery = connect(settings.redis_location), make_celery(settings)
    ledger = Components(redis, settings).ledger
    job = ledger.create(new_id(), NewJob(input=IMAGE))
    before = pending_notifications(celery)
    assert is_broker_reachable(celery)
    assert notify(celery, 1)

    assert ledger.get(job.id).status is Status.QUEUED
    assert pending_notifications(celery) == before + 1
    assert RateLimiter(redis, settings).hit("client", "read") == 0
    redis.close()
    celery.close()


def test_through_a_sentinel(replicated: ReplicatedRedis) -> None:
    assert_usable(replicated.url)


def test_an_unknown_service_is_an_outage(replicated: ReplicatedRedis) -> None:
    settings = Settings(redis_url=replicated.url.replace("/main/", "/other/"))

    with pytest.raises(RedisError):
        connect(settings.redis_location).ping()
    assert not notify(make_celery(settings), 1)


def test_with_tls_and_a_password(secured: ReplicatedRedis) -> None:
    port, ca = secured.primary().port, secured.nodes[0].folder.parent / "ca.pem"

    assert_usable(f"rediss://:{ENCODED}@127.0.0.1:{port}/0?ssl_ca_certs={ca}")


def test_with_tls_and_an_acl_user(secured: ReplicatedRedis) -> None:
    port, ca = secured.primary().port, secured.nodes[0].folder.parent / "ca.pem"
    with secured.primary().client(password=PASSWORD) as client:
        client.execute_command("ACL", "SETUSER", "captiond", "on", f">{PASSWORD}", *RIGHTS.split())

    assert_usable(f"rediss://captiond:{ENCODED}@127.0.0.1:{port}/0?ssl_ca_certs={ca}")


def test_a_certificate_of_an_unknown_authority_is_refused(secured: ReplicatedRedis) -> None:
    settings = Settings(redis_url=f"rediss://:{ENCODED}@127.0.0.1:{secured.primary().port}/0")

    with pytest.raises(RedisError):
        connect(settings.redis_location).ping()
    assert not is_broker_reachable(make_celery(settings))


def test_through_a_sentinel_with_tls_and_passwords(secured: ReplicatedRedis) -> None:
    assert_usable(secured.url)


@pytest.mark.parametrize(
    "change", [("watch", "wrong"), (ENCODED, "wrong"), ("ssl_ca_certs=", "ssl=true&ssl_certfile=")], ids=["1", "2", "3"]
)
def test_a_wrong_secret_or_authority_is_an_outage(
    secured: ReplicatedRedis, change: tuple[str, str], tmp_path: Path
) -> None:
    url = secured.url.replace(*change).replace("&x=" + str(secured.nodes[0].folder.parent / "ca.pem"), "")

    with pytest.raises(RedisError):
        connect(url).ping()
    assert not is_broker_reachable(make_celery(Settings(redis_url=url)))
