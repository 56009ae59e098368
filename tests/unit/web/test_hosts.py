"""Protection against DNS rebinding: without keys, only known Host headers are accepted."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from redis import Redis

from common.jobs import ModelInfo
from common.settings import Settings
from tests.support.keys import add_key
from tests.unit.web.client import MODEL, Client
from web import create_app


def status(client: Client, host: str, path: str = "/v1/jobs") -> int:
    return int(client.get(path, headers={"Host": host}).status_code)


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:8080", "127.0.0.1", "127.0.0.1:8080", "[::1]", "[::1]:8080", "192.0.2.7:80"],
)
def test_ip_addresses_and_localhost_are_accepted(client: Client, host: str) -> None:
    assert status(client, host) == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example", "[::1", "x@y", ""]
)
@pytest.mark.parametrize("path", ["/v1/jobs", "/", "/static/main.js", "/nowhere", "/openapi.json"])
def test_unknown_hosts_are_refused_on_every_path(client: Client, host: str, path: str) -> None:
    answer = client.get(path, headers={"Host": host})

    assert (answer.status_code, answer.json["type"]) == (421, "/problems/unknown-host")
    assert "CAPTIOND_HOSTS" in answer.json["detail"]


@pytest.mark.parametrize("host", ["web", "web:8080", "captions.example", "web_1", "[::1", "x@y", ""])
def test_health_checks_accept_any_host(client: Client, announce: Callable[[ModelInfo], None], host: str) -> None:
    announce(MODEL)

    alive = client.get("/healthz", headers={"Host": host})
    ready = [client.get(path, headers={"Host": host}) for path in ("/readyz", "/readyz/captioning")]

    assert (alive.status_code, alive.json) == (200, {"status": "ok"})
    assert [(answer.status_code, answer.json) for answer in ready] == [(200, {"status": "ready"})] * 2, "no model"


def test_an_unready_service_is_reported_to_any_host(client: Client) -> None:
    answer = client.get("/readyz/captioning", headers={"Host": "web:8080"})

    assert (answer.status_code, answer.json["type"]) == (503, "/problems/not-ready")


def test_a_write_from_a_rebound_host_is_refused(client: Client) -> None:
    headers = {"Host": "evil.example", "Origin": "http://evil.example", "Sec-Fetch-Site": "same-origin"}

    assert client.post("/v1/jobs", headers=headers).status_code == 421


@pytest.mark.parametrize("names", [{"hosts": "captions.example, Other.Example"}, {"host": "captions.example"}])
def test_configured_hosts_are_accepted(settings: Settings, redis: Redis, names: dict[str, str]) -> None:
    client: Client = create_app(settings.model_copy(update=names), redis=redis).test_client()

    assert status(client, "captions.example:8080") == 200
    assert status(client, "other.example") == (200 if "hosts" in names else 421)


def test_a_forwarded_host_is_ignored(settings: Settings, redis: Redis) -> None:
    client: Client = create_app(settings.model_copy(update={"trusted_proxies": 1}), redis=redis).test_client()

    headers = {"Host": "evil.example", "X-Forwarded-Host": "localhost"}
    assert client.get("/v1/jobs", headers=headers).status_code == 421


def test_with_keys_any_host_is_accepted(settings: Settings, redis: Redis) -> None:
    add_key(settings, "alice")
    client: Client = create_app(settings, redis=redis).test_client()

    assert status(client, "captions.example") == 401
