"""The page asks for the key once; the cookie serves this site's page and nobody else."""

from __future__ import annotations

import io
import re

import pytest
from flask import Flask
from redis import Redis

from common.settings import Settings
from tests.support.images import encoded
from tests.support.keys import add_key
from tests.unit.web.client import Client
from web import create_app

HTML = {"Accept": "text/html"}
OWN = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture
def secret(settings: Settings) -> str:
    return add_key(settings, "alice")


@pytest.fixture
def app(secret: str, settings: Settings, redis: Redis) -> Flask:
    return create_app(settings, redis=redis)


@pytest.fixture
def signed_in(client: Client, secret: str) -> Client:
    assert client.post("/sign-in", data={"key": secret}, headers=OWN).status_code == 303
    return client


@pytest.mark.parametrize("path", ["/", "/jobs/x", "/batches/x"])
def test_a_person_without_key_gets_the_form(client: Client, path: str) -> None:
    page = client.get(path, headers=HTML)

    assert page.status_code == 401
    assert 'action="/sign-in"' in page.text and 'type="password"' in page.text
    assert not re.search(r"<script(?![^>]*\bsrc=)", page.text) and not re.search(r"\s(style|on\w+)=", page.text)


def test_the_cookie_is_hidden_from_scripts_and_other_sites(client: Client, secret: str) -> None:
    answer = client.post("/sign-in", data={"key": f" {secret}\n"}, headers=OWN)

    assert (answer.status_code, answer.location) == (303, "/")
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie and "Path=/" in cookie
    assert "Secure" not in cookie


def test_over_https_the_cookie_stays_there(client: Client, secret: str) -> None:
    answer = client.post("/sign-in", data={"key": secret}, headers=OWN, base_url="https://localhost")

    assert "Secure" in answer.headers["Set-Cookie"]


@pytest.mark.parametrize("key", ["", "captiond_wrong", "alice"])
def test_a_wrong_key_is_asked_for_again(client: Client, key: str) -> None:
    answer = client.post("/sign-in", data={"key": key}, headers={**HTML, **OWN})

    assert answer.status_code == 401
    assert 'action="/sign-in"' in answer.text and "Copy it whole" in answer.text
    assert "Set-Cookie" not in answer.headers


def test_the_page_works_once_signed_in(signed_in: Client) -> None:
    sent = signed_in.post("/", data={"images": [(io.BytesIO(encoded()), "a.jpg")]}, headers=OWN)

    assert sent.status_code == 303
    assert signed_in.get(sent.location, headers=HTML).status_code == 200
    assert "Sign out alice" in signed_in.get("/", headers=HTML).text
    assert signed_in.get("/v1/jobs").status_code == 200, "the page's scripts ask for it"


def test_signing_out_forgets_the_key(signed_in: Client) -> None:
    answer = signed_in.post("/sign-out", headers=OWN)

    assert answer.status_code == 303 and "storage" in answer.headers["Clear-Site-Data"]
    assert signed_in.get("/", headers=HTML).status_code == 401


@pytest.mark.parametrize(
    ("headers", "slug"),
    [
        ({"Sec-Fetch-Site": "cross-site"}, "foreign-origin"),
        ({"Sec-Fetch-Site": "same-site"}, "foreign-origin"),
        ({"Origin": "https://evil.example"}, "foreign-origin"),
        ({"Origin": "null"}, "foreign-origin"),
        ({}, "key-needed"),  # no browser that says who asks: no cookie either
    ],
)
@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/batches", "/", "/v1/jobs/x/cancel"])
def test_the_cookie_changes_nothing_for_another_site(
    signed_in: Client, path: str, headers: dict[str, str], slug: str
) -> None:
    answer = signed_in.post(path, headers=headers)

    assert answer.status_code in (401, 403)
    assert answer.json["type"] == f"/problems/{slug}"


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_the_cookie_shows_nothing_to_another_site(signed_in: Client, site: str) -> None:
    assert signed_in.get("/v1/jobs", headers={"Sec-Fetch-Site": site}).status_code == 401


@pytest.mark.parametrize("headers", [OWN, {"Origin": "http://localhost"}])
def test_the_cookie_serves_this_site_s_own_page(signed_in: Client, headers: dict[str, str]) -> None:
    assert signed_in.post("/v1/jobs", headers=headers).json["type"] == "/problems/missing-image"


def test_what_a_key_opens_is_not_kept_by_caches_of_others(signed_in: Client) -> None:
    for path in ("/", "/v1/jobs", "/v1/models"):
        assert "private" in signed_in.get(path).headers["Cache-Control"]


def test_without_keys_there_is_nothing_to_sign_in_to(settings: Settings, redis: Redis) -> None:
    client: Client = create_app(settings, redis=redis).test_client()

    assert "Sign out" not in client.get("/").text
    answer = client.post("/sign-in", data={"key": "x"})
    assert (answer.status_code, "Set-Cookie" in answer.headers) == (303, False)
