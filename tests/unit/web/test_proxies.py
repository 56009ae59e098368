"""Behind a proxy that serves it below a path, everything that the service says of its own addresses has that path."""

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
from web.proxies import normalized
from worker.webhooks import WebhookSender

BEHIND = {"X-Forwarded-For": "192.0.2.1", "X-Forwarded-Proto": "https", "X-Forwarded-Prefix": "/captions"}
HTML = {"Accept": "text/html"}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"trusted_proxies": 1})


def form(field: str = "image", pictures: int = 1) -> dict[str, Any]:
    return {field: [(io.BytesIO(data), "ball.jpg") for data in numbered(pictures)]}


def test_a_job_s_location_and_urls(client: Client) -> None:
    answer = client.post("/v1/jobs", data=form(), headers=BEHIND)

    urls, path = answer.json["urls"], f"/captions/v1/jobs/{answer.json['id']}"
    assert answer.headers["Location"] == path
    assert urls == {"self": path, "cancel": f"{path}/cancel", "image": f"{path}/image"}
    for seen in (
        client.get(f"/v1/jobs/{answer.json['id']}", headers=BEHIND).json,
        client.get("/v1/jobs", headers=BEHIND).json["jobs"][0],
        client.post(f"/v1/jobs/{answer.json['id']}/cancel", headers=BEHIND).json,
    ):
        assert seen["urls"] == urls


def test_a_batch_s_location_and_urls(client: Client) -> None:
    answer = client.post("/v1/batches", data=form("images", 2), headers=BEHIND)

    urls, path = answer.json["urls"], f"/captions/v1/batches/{answer.json['id']}"
    assert answer.headers["Location"] == path
    assert urls == {"self": path, "results": f"{path}/results", "cancel": f"{path}/cancel"}
    assert client.get(f"/v1/batches/{answer.json['id']}", headers=BEHIND).json["urls"] == urls
    assert client.post(f"/v1/batches/{answer.json['id']}/cancel", headers=BEHIND).json["urls"] == urls


@pytest.mark.parametrize(("pictures", "to"), [(1, "/captions/jobs/"), (2, "/captions/batches/")])
def test_the_form_without_scripts_leads_below_the_path(client: Client, pictures: int, to: str) -> None:
    answer = client.post("/", data=form("images", pictures), headers=BEHIND)

    assert answer.location.startswith(to)


@pytest.mark.parametrize("path", ["/", "/docs", "/nowhere", "/jobs/nothing"])
def test_every_link_of_a_page_is_below_the_path(client: Client, path: str) -> None:
    client.post("/v1/jobs", data=form(), headers=BEHIND)  # a recent one, with its picture

    page = client.get(path, headers={**BEHIND, **HTML}).text

    links = re.findall(r'(?:href|src|action)="(/[^"]*)"', page)
    assert links and [link for link in links if not link.startswith("/captions/")] == []


def test_the_description_of_the_api_names_the_path(client: Client) -> None:
    assert client.get("/openapi.json", headers=BEHIND).json["servers"] == [{"url": "/captions"}]
    assert client.get("/openapi.json").json["servers"] == [{"url": "/"}]
    assert "<code>GET /captions/v1/jobs</code>" in client.get("/docs", headers=BEHIND).text


def test_an_address_where_there_is_nothing_says_where_the_page_is(client: Client) -> None:
    problem = client.get("/nowhere", headers=BEHIND).json

    assert "The page is at /captions/, the API below /captions/v1/." in problem["detail"]
    assert problem["type"] == "/problems/not-found", "a name, not an address"


def test_the_cookie_is_for_the_path_alone_and_signing_out_spares_the_host_s_other_applications(
    settings: Settings, redis: Redis
) -> None:
    secret = add_key(settings, "alice")
    client: Client = create_app(settings, redis=redis).test_client()
    own = {**BEHIND, "Sec-Fetch-Site": "same-origin"}

    answer = client.post("/sign-in", data={"key": secret}, headers=own)
    left = client.post("/sign-out", headers=own)

    assert answer.location == left.location == "/captions/"
    for cookie in (answer.headers["Set-Cookie"], left.headers["Set-Cookie"]):
        assert cookie.endswith("Secure; HttpOnly; Path=/captions; SameSite=Strict")
    assert left.headers["Clear-Site-Data"] == '"cache"'


@pytest.mark.parametrize("field", ["image", "images"])
def test_a_webhook_is_told_what_the_client_was(
    client: Client, components: Components, ledger: Ledger, caption: Callable[[str, str], None], field: str
) -> None:
    path = "/v1/jobs" if field == "image" else "/v1/batches"
    headers = {**BEHIND, "Webhook-URL": "https://receiver.example/"}
    sent = client.post(path, data=form(field), headers=headers).json
    caption(ledger.recent()[0][0].id, "a red ball")

    outbox = components.outbox
    delivery = outbox.claim()
    assert delivery is not None and delivery.id == sent["id"]
    webhook_sender = WebhookSender(outbox, ledger, components.batches, Outbound(allow_local=False))
    body = webhook_sender._body(delivery)
    assert f'"self":"/captions{path}/{sent["id"]}"'.encode() in body


def test_unless_a_proxy_is_trusted_whoever_sends_the_path_made_it_up(settings: Settings, redis: Redis) -> None:
    client: Client = create_app(settings.model_copy(update={"trusted_proxies": 0}), redis=redis).test_client()

    answer = client.post("/v1/jobs", data=encoded(), content_type="image/jpeg", headers=BEHIND)

    assert answer.headers["Location"] == f"/v1/jobs/{answer.json['id']}"


def test_of_two_proxies_the_inner_one_hands_on_what_the_outer_one_set(settings: Settings, redis: Redis) -> None:
    secret = add_key(settings, "alice")
    client: Client = create_app(settings.model_copy(update={"trusted_proxies": 2}), redis=redis).test_client()
    headers = {**BEHIND, "X-Forwarded-For": "192.0.2.1, 198.51.100.1", "Sec-Fetch-Site": "same-origin"}

    answer = client.post("/sign-in", data={"key": secret}, headers=headers)

    assert answer.location == "/captions/"
    assert "Secure" in answer.headers["Set-Cookie"]


@pytest.mark.parametrize(
    ("sent", "taken"),
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
def test_a_prefix_is_a_path_of_this_host_or_none(sent: str, taken: str) -> None:
    assert normalized(sent) == taken
