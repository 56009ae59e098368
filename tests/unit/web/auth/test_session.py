"""Sign-in with a cookie, which is valid only for requests of this origin."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from flask import Flask
from redis import Redis

from common import keyring
from common.keyring import RedisKeys, Scope
from common.settings import Settings
from tests.support.images import encoded
from tests.support.keys import add_key
from tests.unit.web.client import Client
from web import create_app

HTML = {"Accept": "text/html"}
SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture
def secret(settings: Settings) -> str:
    return add_key(settings, "alice")


@pytest.fixture
def app(secret: str, settings: Settings, redis: Redis) -> Flask:
    return create_app(settings, redis=redis)


@pytest.fixture
def signed_in(client: Client, secret: str) -> Client:
    assert client.post("/sign-in", data={"key": secret}, headers=SAME_ORIGIN).status_code == 303
    return client


@pytest.mark.parametrize("path", ["/", "/jobs/x", "/batches/x"])
def test_a_browser_without_a_key_gets_the_sign_in_form(client: Client, path: str) -> None:
    page = client.get(path, headers=HTML)

    assert page.status_code == 401
    assert 'action="/sign-in"' in page.text and 'type="password"' in page.text
    assert not re.search(r"<script(?![^>]*\bsrc=)", page.text) and not re.search(r"\s(style|on\w+)=", page.text)


def test_the_cookie_is_http_only_and_same_site_strict(client: Client, secret: str) -> None:
    answer = client.post("/sign-in", data={"key": f" {secret}\n"}, headers=SAME_ORIGIN)

    assert (answer.status_code, answer.location) == (303, "/")
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie and "Path=/" in cookie
    assert "Secure" not in cookie


def test_the_cookie_is_secure_over_https(client: Client, secret: str) -> None:
    answer = client.post("/sign-in", data={"key": secret}, headers=SAME_ORIGIN, base_url="https://localhost")

    assert "Secure" in answer.headers["Set-Cookie"]


@pytest.mark.parametrize("key", ["", "captiond_wrong", "alice"])
def test_an_unknown_key_gets_the_sign_in_form_again(client: Client, key: str) -> None:
    answer = client.post("/sign-in", data={"key": key}, headers={**HTML, **SAME_ORIGIN})

    assert answer.status_code == 401
    assert 'action="/sign-in"' in answer.text and "Copy all of it" in answer.text
    assert "Set-Cookie" not in answer.headers


def test_a_signed_in_browser_can_use_page_and_api(signed_in: Client) -> None:
    sent = signed_in.post("/", data={"images": [(io.BytesIO(encoded()), "a.jpg")]}, headers=SAME_ORIGIN)

    assert sent.status_code == 303
    assert signed_in.get(sent.location, headers=HTML).status_code == 200
    assert "Sign out alice" in signed_in.get("/", headers=HTML).text
    assert signed_in.get("/v1/jobs").status_code == 200, "the page's scripts use the API"


def test_a_sign_in_is_valid_on_every_web_server(tmp_path: Path, settings: Settings, redis: Redis) -> None:
    secret, key = keyring.make("alice", [Scope.READ])
    RedisKeys(redis).change(lambda keys: keys.update(alice=key))
    first = create_app(settings, redis=redis).test_client()
    second = create_app(settings.model_copy(update={"data": tmp_path / "second"}), redis=redis).test_client()

    signed_in = first.post("/sign-in", data={"key": secret}, headers=SAME_ORIGIN)
    name, _equals, value = signed_in.headers["Set-Cookie"].partition(";")[0].partition("=")

    assert second.get("/v1/jobs").status_code == 401
    second.set_cookie(name, value)
    assert second.get("/v1/jobs", headers=SAME_ORIGIN).status_code == 200


def test_sign_out_deletes_the_cookie(signed_in: Client) -> None:
    answer = signed_in.post("/sign-out", headers=SAME_ORIGIN)

    assert answer.status_code == 303 and "storage" in answer.headers["Clear-Site-Data"]
    assert signed_in.get("/", headers=HTML).status_code == 401


@pytest.mark.parametrize(
    ("headers", "slug"),
    [
        ({"Sec-Fetch-Site": "cross-site"}, "foreign-origin"),
        ({"Sec-Fetch-Site": "same-site"}, "foreign-origin"),
        ({"Origin": "https://evil.example"}, "foreign-origin"),
        ({"Origin": "null"}, "foreign-origin"),
        ({}, "key-needed"),  # without these headers the cookie is ignored
    ],
)
@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/batches", "/", "/v1/jobs/x/cancel"])
def test_the_cookie_is_refused_for_cross_site_writes(
    signed_in: Client, path: str, headers: dict[str, str], slug: str
) -> None:
    answer = signed_in.post(path, headers=headers)

    assert answer.status_code in (401, 403)
    assert answer.json["type"] == f"/problems/{slug}"


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_the_cookie_is_ignored_for_cross_site_reads(signed_in: Client, site: str) -> None:
    assert signed_in.get("/v1/jobs", headers={"Sec-Fetch-Site": site}).status_code == 401


@pytest.mark.parametrize("headers", [SAME_ORIGIN, {"Origin": "http://localhost"}])
def test_the_cookie_is_accepted_from_the_same_origin(signed_in: Client, headers: dict[str, str]) -> None:
    assert signed_in.post("/v1/jobs", headers=headers).json["type"] == "/problems/missing-image"


def test_authenticated_responses_are_private_to_caches(signed_in: Client) -> None:
    for path in ("/", "/v1/jobs", "/v1/models"):
        assert "private" in signed_in.get(path).headers["Cache-Control"]


def test_sign_in_sets_no_cookie_if_no_keys_exist(settings: Settings, redis: Redis) -> None:
    client: Client = create_app(settings, redis=redis).test_client()

    assert "Sign out" not in client.get("/").text
    answer = client.post("/sign-in", data={"key": "x"})
    assert (answer.status_code, "Set-Cookie" in answer.headers) == (303, False)
