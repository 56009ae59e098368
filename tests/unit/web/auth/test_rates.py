"""Too many requests in a minute are refused, by key or by address, and only then."""

from __future__ import annotations

import fakeredis
import pytest
from flask import Flask
from redis import Redis

from common.settings import Settings
from tests.support.keys import add_key
from tests.unit.web.client import Client
from web import create_app
from web.app import create_app as make

OUTSIDE = {"REMOTE_ADDR": "192.0.2.1"}


@pytest.fixture
def few(settings: Settings) -> Settings:
    return settings.model_copy(update={"reads_per_minute": 3, "submits_per_minute": 2})


@pytest.fixture
def app(few: Settings, redis: Redis) -> Flask:
    return make(few, redis=redis)


def reads(client: Client, times: int, **how: object) -> list[int]:
    return [client.get("/v1/jobs", **how).status_code for _ in range(times)]


def test_an_address_is_told_when_it_may_come_again(client: Client) -> None:
    assert reads(client, 4, environ_base=OUTSIDE) == [200, 200, 200, 429]

    answer = client.get("/v1/jobs", environ_base=OUTSIDE)
    assert answer.json["type"] == "/problems/rate-limited"
    assert 0 < int(answer.headers["Retry-After"]) <= 60


def test_reads_and_submits_and_addresses_are_counted_apart(client: Client) -> None:
    reads(client, 4, environ_base=OUTSIDE)

    assert [client.post("/v1/jobs", environ_base=OUTSIDE).status_code for _ in range(3)] == [400, 400, 429]
    assert reads(client, 1, environ_base={"REMOTE_ADDR": "192.0.2.2"}) == [200]


def test_this_machine_s_own_programs_are_not_counted(client: Client) -> None:
    assert set(reads(client, 10, environ_base={"REMOTE_ADDR": "127.0.0.1"})) == {200}
    assert set(reads(client, 10, environ_base={"REMOTE_ADDR": "::1"})) == {200}


def test_health_checks_are_never_refused(client: Client) -> None:
    assert {client.get("/healthz", environ_base=OUTSIDE).status_code for _ in range(10)} == {200}


def test_a_key_is_counted_wherever_it_comes_from(few: Settings, redis: Redis) -> None:
    alice, bob = add_key(few, "alice"), add_key(few, "bob")
    client: Client = create_app(few, redis=redis).test_client()
    headers = {"Authorization": f"Bearer {alice}"}

    answers = [
        client.get("/v1/jobs", headers=headers, environ_base={"REMOTE_ADDR": f"192.0.2.{number}"}).status_code
        for number in range(4)
    ]

    assert answers == [200, 200, 200, 429]
    assert client.get("/v1/jobs", headers={"Authorization": f"Bearer {bob}"}).status_code == 200


def test_a_forged_header_changes_no_address(client: Client) -> None:
    reads(client, 3, environ_base=OUTSIDE)

    forged = {"X-Forwarded-For": "198.51.100.7", "Forwarded": "for=198.51.100.7"}
    assert reads(client, 1, environ_base=OUTSIDE, headers=forged) == [429]


def test_a_trusted_proxy_tells_the_address_and_only_the_last_word_counts(few: Settings, redis: Redis) -> None:
    behind = few.model_copy(update={"trusted_proxies": 1})
    client: Client = create_app(behind, redis=redis).test_client()

    def seen(forwarded: str) -> int:
        return reads(client, 1, environ_base={"REMOTE_ADDR": "127.0.0.1"}, headers={"X-Forwarded-For": forwarded})[0]

    # A client may write what it likes before the proxy's own entry.
    assert [seen(f"198.51.100.{number}, 192.0.2.9") for number in range(4)] == [200, 200, 200, 429]
    assert seen("192.0.2.10") == 200


def test_zero_sets_no_limit(settings: Settings, redis: Redis) -> None:
    unlimited = settings.model_copy(update={"reads_per_minute": 0})
    client: Client = create_app(unlimited, redis=redis).test_client()

    assert set(reads(client, 10, environ_base=OUTSIDE)) == {200}
    assert redis.keys("rate*") == []


def test_a_page_that_polls_and_many_clients_never_meet_the_limits() -> None:
    settings = Settings()

    # Twice what 64 clients that never pause got from one web server, and a page that polls 200 jobs twice a second.
    assert settings.submits_per_minute >= 2 * 174 * 60
    assert settings.reads_per_minute >= max(2 * 732, 2 * 200) * 60


def test_without_redis_nothing_is_refused_and_the_log_says_so_once(
    app: Flask, client: Client, server: fakeredis.FakeServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.connected = False
    away = {client.post("/sign-out", environ_base=OUTSIDE).status_code for _ in range(3)}
    answers = {client.get("/v1/jobs", environ_base=OUTSIDE).json["type"] for _ in range(5)}

    assert (away, answers) == ({303}, {"/problems/store-unavailable"})
    assert [line.message for line in caplog.records if "not counted" in line.message][1:] == []
    assert "not counted until it does" in caplog.text
    server.connected = True
    assert reads(client, 4, environ_base=OUTSIDE) == [200, 200, 200, 429]
