"""Behind a proxy with a path prefix, every URL of the service contains the prefix."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

import pytest
from redis import Redis

from common.ledger import Components, Ledger
from common.outbound import Outbound
from common.settings import Settings
from tests.support.images import encoded, numbered
from tests.support.keys import add_key
from tests.unit.web.client import Client
from web import create_app
from web.proxies import normalize_prefix
from worker.webhooks import WebhookSender

PROXY_HEADERS = {"X-Forwarded-For": "192.0.2.1", "X-Forwarded-Proto": "https", "X-Forwarded-Prefix": "/captions"}
HTML = {"Accept": "text/html"}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"trusted_proxies": 1})


def form(field: str = "image", images: int = 1) -> dict[str, Any]:
    return {field: [(io.BytesIO(data), "ball.jpg") for data in numbered(images)]}


def test_the_urls_of_a_job_contain_the_prefix(client: Client) -> None:
    answer = client.post("/v1/jobs", data=form(), headers=PROXY_HEADERS)

    urls, path = answer.json["urls"], f"/captions/v1/jobs/{answer.json['id']}"
    assert answer.headers["Location"] == path
    assert urls == {"self": path, "cancel": f"{path}/cancel", "retry": f"{path}/retry", "image": f"{path}/image"}
    for body in (
        client.get(f"/v1/jobs/{answer.json['id']}", headers=PROXY_HEADERS).json,
        client.get("/v1/jobs", headers=PROXY_HEADERS).json["jobs"][0],
        client.post(f"/v1/jobs/{answer.json['id']}/cancel", headers=PROXY_HEADERS).json,
    ):
        assert body["urls"] == urls


def test_the_urls_of_a_batch_contain_the_prefix(client: Client) -> None:
    answer = client.post("/v1/batches", data=form("images", 2), headers=PROXY_HEADERS)

    urls, path = answer.json["urls"], f"/captions/v1/batches/{answer.json['id']}"
    assert answer.headers["Location"] == path
    actions = ("items", "seal", "jobs", "results", "cancel", "retry")
    assert urls == {"self": path, **{name: f"{path}/{name}" for name in actions}}
    assert client.get(f"/v1/batches/{answer.json['id']}", headers=PROXY_HEADERS).json["urls"] == urls
    assert client.post(f"/v1/batches/{answer.json['id']}/cancel", headers=PROXY_HEADERS).json["urls"] == urls


@pytest.mark.parametrize(("images", "target"), [(1, "/captions/jobs/"), (2, "/captions/batches/")])
def test_the_form_redirects_below_the_prefix(client: Client, images: int, target: str) -> None:
    answer = client.post("/", data=form("images", images), headers=PROXY_HEADERS)

    assert answer.location.startswith(target)


@pytest.mark.parametrize("path", ["/", "/docs", "/nowhere", "/jobs/nothing"])
def test_every_link_of_a_page_contains_the_prefix(client: Client, path: str) -> None:
    client.post("/v1/jobs", data=form(), headers=PROXY_HEADERS)  # for the list of recent jobs

    page = client.get(path, headers={**PROXY_HEADERS, **HTML}).text

    links = re.findall(r'(?:href|src|action)="(/[^"]*)"', page)
    assert links and [link for link in links if not link.startswith("/captions/")] == []


def test_the_openapi_server_url_is_the_prefix(client: Client) -> None:
    assert client.get("/openapi.json", headers=PROXY_HEADERS).json["servers"] == [{"url": "/captions"}]
    assert client.get("/openapi.json").json["servers"] == [{"url": "/"}]
    assert "<code>GET /captions/v1/jobs</code>" in client.get("/docs", headers=PROXY_HEADERS).text


def test_the_not_found_problem_names_the_prefix(client: Client) -> None:
    problem = client.get("/nowhere", headers=PROXY_HEADERS).json

    assert "The page is at /captions/, the API below /captions/v1/." in problem["detail"]
    assert problem["type"] == "/problems/not-found", "an identifier, not a URL"


def test_sign_in_and_sign_out_are_limited_to_the_prefix(settings: Settings, redis: Redis) -> None:
    secret = add_key(settings, "alice")
    client: Client = create_app(settings, redis=redis).test_client()
    same_origin = {**PROXY_HEADERS, "Sec-Fetch-Site": "same-origin"}

    answer = client.post("/sign-in", data={"key": secret}, headers=same_origin)
    signed_out = client.post("/sign-out", headers=same_origin)

    assert answer.location == signed_out.location == "/captions/"
    for cookie in (answer.headers["Set-Cookie"], signed_out.headers["Set-Cookie"]):
        assert cookie.endswith("Secure; HttpOnly; Path=/captions; SameSite=Strict")
    assert signed_out.headers["Clear-Site-Data"] == '"cache"'


@pytest.mark.parametrize("field", ["image", "images"])
def test_the_urls_of_a_webhook_contain_the_prefix(
    client: Client, components: Components, ledger: Ledger, caption: Callable[[str, str], None], field: str
) -> None:
    path = "/v1/jobs" if field == "image" else "/v1/batches"
    headers = {**PROXY_HEADERS, "Webhook-URL": "https://receiver.example/"}
    sent = client.post(path, data=form(field), headers=headers).json
    caption(ledger.recent()[0][0].id, "a red ball")

    outbox = components.outbox
    delivery = outbox.claim()
    assert delivery is not None and delivery.id == sent["id"]
    webhook_sender = WebhookSender(outbox, ledger, components.batches, Outbound(allow_local=False))
    store = components.batches if delivery.of_batch else ledger
    body = webhook_sender._body(delivery, store.origin(delivery.id).prefix)
    assert f'"self":"/captions{path}/{sent["id"]}"'.encode() in body


def test_the_prefix_of_an_untrusted_proxy_is_ignored(settings: Settings, redis: Redis) -> None:
    client: Client = create_app(settings.model_copy(update={"trusted_proxies": 0}), redis=redis).test_client()

    answer = client.post("/v1/jobs", data=encoded(), content_type="image/jpeg", headers=PROXY_HEADERS)

    assert answer.headers["Location"] == f"/v1/jobs/{answer.json['id']}"


def test_two_trusted_proxies_are_supported(settings: Settings, redis: Redis) -> None:
    secret = add_key(settings, "alice")
    client: Client = create_app(settings.model_copy(update={"trusted_proxies": 2}), redis=redis).test_client()
    headers = {**PROXY_HEADERS, "X-Forwarded-For": "192.0.2.1, 198.51.100.1", "Sec-Fetch-Site": "same-origin"}

    answer = client.post("/sign-in", data={"key": secret}, headers=headers)

    assert answer.location == "/captions/"
    assert "Secure" in answer.headers["Set-Cookie"]


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ("", ""),
        ("/", ""),
        ("/captions/", "/captions"),
        ("captions", "/captions"),
        ("/a/b%20c", "/a/b%20c"),
        ("//evil.example", "/evil.example"),
        ("https://evil.example", "/https:/evil.example"),
        ('/"><script>', ""),
        ("/a\\b", ""),
        ("/a;b", ""),
        ("/a b", ""),
    ],
)
def test_a_prefix_is_normalized(prefix: str, expected: str) -> None:
    assert normalize_prefix(prefix) == expected
