"""URLs with Sentinels become redis-py's and Celery's options, and wrong ones are refused without being quoted."""

from __future__ import annotations

import threading
import weakref
from typing import Any

import pytest
from redis.sentinel import MasterNotFoundError

from common import sentinel
from common.sentinel import SentinelUrl

URL = "sentinel://:p%40ss@one:26379,two:26380,[::1]/main/3"


def test_hosts_service_database_and_password_are_parsed() -> None:
    parsed = SentinelUrl.parse(URL)

    assert parsed.hosts == (("one", 26379), ("two", 26380), ("::1", 26379))
    assert (parsed.service, parsed.db, parsed.username, parsed.password) == ("main", 3, None, "p@ss")


def test_the_client_connects_to_the_primary_with_the_options_of_the_url() -> None:
    url = "sentinel://user:pw@one/main?sentinel_password=watch&ssl_ca_certs=/ca&socket_timeout=2"

    pool: Any = SentinelUrl.parse(url).client(socket_timeout=5.0).connection_pool

    connection = pool.make_connection()
    assert (connection.db, connection.username, connection.password) == (0, "user", "pw")
    assert (connection.socket_timeout, connection.ca_certs) == (2.0, "/ca")
    options = pool.sentinel_manager.sentinels[0].connection_pool.connection_kwargs
    assert (options["password"], options["username"], options["ssl_ca_certs"]) == ("watch", None, "/ca")


def test_celery_gets_a_url_for_each_sentinel() -> None:
    parsed = SentinelUrl.parse(URL)

    assert parsed.broker_url() == (
        "sentinel://:p%40ss@one:26379/3;sentinel://:p%40ss@two:26380/3;sentinel://:p%40ss@[::1]:26379/3"
    )
    assert parsed.broker_options()["master_name"] == "main"
    assert parsed.broker_ssl() is None


def test_celery_verifies_certificates_unless_the_url_says_otherwise() -> None:
    unverified = SentinelUrl.parse("sentinel://one/main?ssl=true&ssl_cert_reqs=none")

    assert SentinelUrl.parse("sentinel://one/main?ssl=true").broker_ssl() == {"ssl_cert_reqs": "required"}
    assert unverified.broker_ssl() == {"ssl_cert_reqs": "none"}


@pytest.mark.parametrize(
    "url",
    [
        "sentinel://one:26379",
        "sentinel:///main/0",
        "sentinel://one,,two/main",
        "sentinel://one:port/main",
        "sentinel://one/main/zero",
        "sentinel://:se#cret@one/main",
        "sentinel://:se/cret@one/main",
        "sentinel://one/main?secret=1",
    ],
)
def test_a_wrong_url_is_refused_without_being_quoted(url: str) -> None:
    with pytest.raises(ValueError, match="A URL with Sentinels is sentinel://") as refused:
        SentinelUrl.parse(url)

    assert "cret" not in str(refused.value)


def test_the_sentinels_are_asked_for_the_primary_until_the_client_is_garbage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sentinel, "FOLLOW_INTERVAL", 0.001)
    asked = threading.Semaphore(0)

    class Pool:
        def get_master_address(self) -> None:
            asked.release()
            raise MasterNotFoundError

    pool: Any = Pool()
    thread = threading.Thread(target=sentinel._follow_primary, args=(weakref.ref(pool),))
    thread.start()
    assert all(asked.acquire(timeout=5) for _ in range(2)), "an outage of the Sentinels does not end it"

    del pool
    thread.join(5)
    assert not thread.is_alive()
