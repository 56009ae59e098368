"""Every route requires its scope, and jobs of other owners are invisible."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fakeredis
import pytest
from flask import Flask
from redis import Redis

from common.jobs import ModelInfo
from common.keyring import Scope
from common.settings import Settings
from tests.support.images import encoded
from tests.support.keys import add_key, revoke_key
from tests.unit.web.client import MODEL, Client
from web import create_app
from web.auth.access import REQUIRED_SCOPES

Headers = dict[str, str]


@pytest.fixture
def app(settings: Settings, redis: Redis) -> Flask:
    """An application that requires keys."""
    settings.keys_file.touch()
    return create_app(settings, redis=redis)


@pytest.fixture
def key(app: Flask, settings: Settings) -> Callable[..., Headers]:
    """Creates a key; returns its Authorization header."""

    def add(name: str, *scopes: Scope) -> Headers:
        secret = add_key(settings, name, *scopes)
        app.extensions["captiond"].keyring.reload()
        return {"Authorization": f"Bearer {secret}"}

    return add


def image_form() -> dict[str, Any]:
    return {"image": (io.BytesIO(encoded()), "a.jpg")}


def requests(app: Flask) -> list[tuple[str, str, str]]:
    """Method, path and endpoint of every route."""
    return [
        (
            method,
            rule.rule.replace("<path:filename>", "main.js").replace("<job_id>", "x").replace("<batch_id>", "x"),
            rule.endpoint,
        )
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"OPTIONS", "HEAD"}
    ]


def test_every_endpoint_has_a_required_scope(app: Flask) -> None:
    assert {endpoint for _, _, endpoint in requests(app)} == set(REQUIRED_SCOPES)


def test_a_request_without_a_key_reaches_public_endpoints_only(app: Flask, client: Client) -> None:
    for method, path, endpoint in requests(app):
        with client.open(path, method=method) as answer:
            if REQUIRED_SCOPES[endpoint] is None:
                assert answer.status_code != 401 or endpoint == "session.sign_in", path
            else:
                assert answer.status_code == 401, (method, path)
                assert answer.headers["WWW-Authenticate"].startswith("Bearer")
                assert "captiond keys add" in answer.text


@pytest.mark.parametrize("scope", [Scope.SUBMIT, Scope.READ])
def test_a_key_is_limited_to_its_scope(app: Flask, client: Client, key: Callable[..., Headers], scope: Scope) -> None:
    headers = key("alice", scope)

    for method, path, endpoint in requests(app):
        with client.open(path, method=method, headers=headers) as answer:
            refused = REQUIRED_SCOPES[endpoint] not in (None, scope)
            assert (answer.status_code == 403) == refused, (method, path)
            if refused:
                assert f"--scope {REQUIRED_SCOPES[endpoint]}" in answer.text


def test_an_unlisted_endpoint_requires_the_admin_scope(app: Flask, client: Client, key: Callable[..., Headers]) -> None:
    app.add_url_rule("/v1/new", "new", lambda: "secret")

    assert client.get("/v1/new").status_code == 401
    assert client.get("/v1/new", headers=key("alice")).status_code == 403
    assert client.get("/v1/new", headers=key("root", Scope.ADMIN)).text == "secret"


@pytest.mark.parametrize(
    "authorization", ["Bearer captiond_wrong", "Bearer ", "Bearer", "Basic YTpi", "captiond_", "Bearer é", ""]
)
def test_an_invalid_authorization_header_is_refused(
    client: Client, key: Callable[..., Headers], authorization: str
) -> None:
    key("alice")

    assert client.get("/v1/jobs", headers={"Authorization": authorization}).status_code == 401


def test_a_key_may_be_the_password_of_basic_authentication(client: Client, key: Callable[..., Headers]) -> None:
    secret = key("alice")["Authorization"].removeprefix("Bearer ")

    assert client.get("/v1/jobs", auth=("anybody", secret)).status_code == 200
    assert client.get("/v1/jobs", auth=(secret, "anything")).status_code == 401


def test_a_key_is_valid_until_it_is_revoked(
    app: Flask, client: Client, settings: Settings, key: Callable[..., Headers]
) -> None:
    headers = key("alice")
    assert client.get("/v1/jobs", headers=headers).status_code == 200

    revoke_key(settings, "alice")
    app.extensions["captiond"].keyring.reload()

    answer = client.get("/v1/jobs", headers=headers)
    assert answer.status_code == 401 and "revoked" in answer.json["detail"]


def test_an_unknown_key_is_an_outage_while_redis_is_away_but_probes_answer(
    app: Flask, client: Client, key: Callable[..., Headers], server: fakeredis.FakeServer
) -> None:
    key("alice")
    server.connected = False
    app.extensions["captiond"].keyring.reload()
    unknown = {"Authorization": "Bearer captiond_new"}

    assert client.get("/v1/jobs", headers=unknown).json["type"] == "/problems/store-unavailable"
    assert client.get("/healthz", headers=unknown).status_code == 200
    assert client.get("/openapi.json", headers=unknown).status_code == 200


def test_health_checks_disclose_the_model_only_with_a_key(
    client: Client, key: Callable[..., Headers], announce: Callable[[ModelInfo], None]
) -> None:
    announce(MODEL)

    assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").json == client.get("/readyz/captioning").json == {"status": "ready"}
    assert client.get("/readyz/captioning", headers=key("alice")).json["model"]["name"] == MODEL.name


class TestOtherOwners:
    """Alice has created a job and a batch; Bob knows their ids."""

    @pytest.fixture
    def alice(self, key: Callable[..., Headers]) -> Headers:
        return key("alice")

    @pytest.fixture
    def bob(self, key: Callable[..., Headers]) -> Headers:
        return key("bob")

    @pytest.fixture
    def job(self, client: Client, alice: Headers) -> str:
        return str(client.post("/v1/jobs", data=image_form(), headers=alice).json["id"])

    @pytest.fixture
    def batch(self, client: Client, alice: Headers) -> str:
        data = {"images": [(io.BytesIO(encoded()), "a.jpg")]}
        return str(client.post("/v1/batches", data=data, headers=alice).json["id"])

    def test_jobs_of_other_owners_get_the_response_of_unknown_ids(
        self, app: Flask, client: Client, bob: Headers, job: str, batch: str
    ) -> None:
        unknown = "019ddc1a-53f0-7c52-a5f0-2b8e6a9d1c33"
        checked = 0
        for rule in app.url_map.iter_rules():
            if not rule.arguments & {"job_id", "batch_id"}:
                continue
            for method in (rule.methods or set()) - {"OPTIONS", "HEAD"}:
                answers = []
                for job_id, batch_id in ((job, batch), (unknown, unknown)):
                    path = rule.rule.replace("<job_id>", job_id).replace("<batch_id>", batch_id)
                    answer = client.open(path, method=method, headers=bob)
                    answers.append((answer.status_code, answer.text, dict(answer.headers)))
                assert answers[0] == answers[1] and answers[0][0] == 404, (method, rule.rule)
                checked += 1
        assert checked >= 9

    def test_lists_contain_only_jobs_of_the_owner(self, client: Client, alice: Headers, bob: Headers, job: str) -> None:
        assert [listed["id"] for listed in client.get("/v1/jobs", headers=alice).json["jobs"]] == [job]
        assert client.get("/v1/jobs", headers=bob).json["jobs"] == []
        assert job not in client.get("/", headers=bob).text

    def test_the_caption_cache_is_separate_for_each_owner(
        self,
        client: Client,
        alice: Headers,
        bob: Headers,
        job: str,
        caption: Callable[[str, str], None],
        announce: Callable[[ModelInfo], None],
    ) -> None:
        announce(MODEL)
        caption(job, "a red ball")

        assert client.post("/v1/jobs", data=image_form(), headers=bob).json["cached"] is False
        assert client.post("/v1/jobs", data=image_form(), headers=alice).json["cached"] is True

    def test_idempotency_keys_are_separate_for_each_owner(self, client: Client, alice: Headers, bob: Headers) -> None:
        sent = [
            client.post("/v1/jobs", data=image_form(), headers={**headers, "Idempotency-Key": "monday"}).json["id"]
            for headers in (alice, bob, alice)
        ]

        assert sent[0] == sent[2] != sent[1]

    def test_an_administrator_sees_all_jobs(self, client: Client, key: Callable[..., Headers], job: str) -> None:
        root = key("root", Scope.ADMIN)

        assert client.get(f"/v1/jobs/{job}/image", headers=root).status_code == 200
        assert [listed["id"] for listed in client.get("/v1/jobs", headers=root).json["jobs"]] == [job]

    def test_a_response_does_not_contain_the_owner(self, client: Client, alice: Headers, job: str) -> None:
        assert "alice" not in client.get(f"/v1/jobs/{job}", headers=alice).text


def test_the_quota_of_open_jobs_refuses_with_a_retry_after(
    tmp_path: Path, redis: Redis, settings: Settings, key: Callable[..., Headers]
) -> None:
    limited = settings.model_copy(update={"max_open_jobs_per_key": 1})
    headers = key("alice")
    client: Client = create_app(limited, redis=redis).test_client()
    client.post("/v1/jobs", data=image_form(), headers=headers)

    answer = client.post("/v1/jobs", data=image_form(), headers=headers)

    assert (answer.status_code, answer.json["type"]) == (429, "/problems/quota-used-up")
    assert int(answer.headers["Retry-After"]) > 0


def test_the_daily_quota_of_bytes_refuses_before_anything_is_stored(
    redis: Redis, settings: Settings, key: Callable[..., Headers], stored: Callable[[], list[Path]]
) -> None:
    limited = settings.model_copy(update={"max_bytes_per_key_and_day": len(encoded()) + 1})
    headers = key("alice")
    client: Client = create_app(limited, redis=redis).test_client()
    assert client.post("/v1/jobs", data=image_form(), headers=headers).status_code == 202

    answer = client.post("/v1/jobs", data=image_form(), headers=headers)
    batch_form = {"images": [(io.BytesIO(encoded()), "a.jpg")]}
    batch = client.post("/v1/batches", data=batch_form, headers=headers)

    assert (answer.status_code, answer.json["type"]) == (429, "/problems/quota-used-up")
    assert batch.json["request_counts"]["failed"] == 1, "in a batch, the job fails"
    assert len(stored()) == 1
