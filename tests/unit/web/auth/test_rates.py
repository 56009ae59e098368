"""Rate limits for each key and each IP address."""

from __future__ import annotations

import fakeredis
import pytest
from flask import Flask
from redis import Redis

from common.settings import Settings
from tests.support.keys import add_key
from tests.unit.web.client import Client
from web import create_app

REMOTE = {"REMOTE_ADDR": "192.0.2.1"}


@pytest.fixture
def limited(settings: Settings) -> Settings:
    return settings.model_copy(update={"reads_per_minute": 3, "submits_per_minute": 2})


@pytest.fixture
def app(limited: Settings, redis: Redis) -> Flask:
    return create_app(limited, redis=redis)


def read_statuses(client: Client, count: int, **options: object) -> list[int]:
    return [client.get("/v1/jobs", **options).status_code for _ in range(count)]


def test_an_address_over_its_limit_gets_a_retry_after(client: Client) -> None:
    assert read_statuses(client, 4, environ_base=REMOTE) == [200, 200, 200, 429]

    answer = client.get("/v1/jobs", environ_base=REMOTE)
    assert answer.json["type"] == "/problems/rate-limited"
    assert 0 < int(answer.headers["Retry-After"]) <= 60


def test_reads_submits_and_addresses_have_separate_limits(client: Client) -> None:
    read_statuses(client, 4, environ_base=REMOTE)

    assert [client.post("/v1/jobs", environ_base=REMOTE).status_code for _ in range(3)] == [400, 400, 429]
    assert read_statuses(client, 1, environ_base={"REMOTE_ADDR": "192.0.2.2"}) == [200]


def test_loopback_addresses_are_not_limited(client: Client) -> None:
    assert set(read_statuses(client, 10, environ_base={"REMOTE_ADDR": "127.0.0.1"})) == {200}
    assert set(read_statuses(client, 10, environ_base={"REMOTE_ADDR": "::1"})) == {200}


def test_health_checks_are_not_limited(client: Client) -> None:
    assert {client.get("/healthz", environ_base=REMOTE).status_code for _ in range(10)} == {200}


def test_a_key_has_one_limit_for_all_addresses(limited: Settings, redis: Redis) -> None:
    alice, bob = add_key(limited, "alice"), add_key(limited, "bob")
    client: Client = create_app(limited, redis=redis).test_client()
    headers = {"Authorization": f"Bearer {alice}"}

    answers = [
        client.get("/v1/jobs", headers=headers, environ_base={"REMOTE_ADDR": f"192.0.2.{number}"}).status_code
        for number in range(4)
    ]

    assert answers == [200, 200, 200, 429]
    assert client.get("/v1/jobs", headers={"Authorization": f"Bearer {bob}"}).status_code == 200


def test_a_forged_forwarding_header_is_ignored(client: Client) -> None:
    read_statuses(client, 3, environ_base=REMOTE)

    forged = {"X-Forwarded-For": "198.51.100.7", "Forwarded": "for=198.51.100.7"}
    assert read_statuses(client, 1, environ_base=REMOTE, headers=forged) == [429]


def test_the_last_value_of_a_trusted_proxy_is_the_client_s_address(limited: Settings, redis: Redis) -> None:
    proxied = limited.model_copy(update={"trusted_proxies": 1})
    client: Client = create_app(proxied, redis=redis).test_client()

    def status(forwarded: str) -> int:
        return read_statuses(
            client, 1, environ_base={"REMOTE_ADDR": "127.0.0.1"}, headers={"X-Forwarded-For": forwarded}
        )[0]

    # The client may forge the values before the proxy's own.
    assert [status(f"198.51.100.{number}, 192.0.2.9") for number in range(4)] == [200, 200, 200, 429]
    assert status("192.0.2.10") == 200


def test_a_setting_of_zero_disables_the_limit(settings: Settings, redis: Redis) -> None:
    unlimited = settings.model_copy(update={"reads_per_minute": 0})
    client: Client = create_app(unlimited, redis=redis).test_client()

    assert set(read_statuses(client, 10, environ_base=REMOTE)) == {200}
    assert redis.keys("rate*") == []


def test_the_default_limits_exceed_normal_use() -> None:
    settings = Settings()

    # Twice the measured throughput of one web server with 64 clients, and a page that polls 200 jobs twice a second.
    assert settings.submits_per_minute >= 2 * 174 * 60
    assert settings.reads_per_minute >= max(2 * 732, 2 * 200) * 60


def test_without_redis_no_request_is_limited_and_one_warning_is_logged(
    app: Flask, client: Client, server: fakeredis.FakeServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.connected = False
    statuses = {client.post("/sign-out", environ_base=REMOTE).status_code for _ in range(3)}
    types = {client.get("/v1/jobs", environ_base=REMOTE).json["type"] for _ in range(5)}

    assert (statuses, types) == ({303}, {"/problems/store-unavailable"})
    warnings = [record.message for record in caplog.records if "Rate limits are off" in record.message]
    assert len(warnings) == 1
    server.connected = True
    assert read_statuses(client, 4, environ_base=REMOTE) == [200, 200, 200, 429]
