"""Who may do what: every route is held to its scope, and another's things are not there."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
from web.auth.access import NEEDS

Headers = dict[str, str]


@pytest.fixture
def app(settings: Settings, redis: Redis) -> Flask:
    """An application that needs keys."""
    settings.keys_file.touch()
    return create_app(settings, redis=redis)


@pytest.fixture
def key(app: Flask, settings: Settings) -> Callable[..., Headers]:
    """The headers of a new key."""

    def add(name: str, *scopes: Scope) -> Headers:
        secret = add_key(settings, name, *scopes)
        app.extensions["captiond"].keyring._looked -= 10  # the file is looked at once a second
        return {"Authorization": f"Bearer {secret}"}

    return add


def picture() -> dict[str, Any]:
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


def test_every_route_says_what_it_needs_and_nothing_else_does(app: Flask) -> None:
    assert {endpoint for _, _, endpoint in requests(app)} == set(NEEDS)


def test_a_stranger_gets_in_nowhere_but_where_it_is_open(app: Flask, client: Client) -> None:
    for method, path, endpoint in requests(app):
        with client.open(path, method=method) as answer:
            if NEEDS[endpoint] is None:
                assert answer.status_code != 401 or endpoint == "session.sign_in", path
            else:
                assert (answer.status_code, answer.json["type"]) == (401, "/problems/key-needed"), (method, path)
                assert answer.headers["WWW-Authenticate"].startswith("Bearer")
                assert "captiond keys add" in answer.json["detail"]


@pytest.mark.parametrize("scope", [Scope.SUBMIT, Scope.READ])
def test_a_key_is_held_to_what_it_is_for(app: Flask, client: Client, key: Callable[..., Headers], scope: Scope) -> None:
    headers = key("alice", scope)

    for method, path, endpoint in requests(app):
        with client.open(path, method=method, headers=headers) as answer:
            refused = NEEDS[endpoint] not in (None, scope)
            assert (answer.status_code == 403) == refused, (method, path)
            if refused:
                assert answer.json["type"] == "/problems/key-refused"
                assert f"--scope {NEEDS[endpoint]}" in answer.json["detail"]


def test_a_route_that_nobody_thought_of_is_an_administrator_s(
    app: Flask, client: Client, key: Callable[..., Headers]
) -> None:
    app.add_url_rule("/v1/new", "new", lambda: "secret")

    assert client.get("/v1/new").status_code == 401
    assert client.get("/v1/new", headers=key("alice")).status_code == 403
    assert client.get("/v1/new", headers=key("root", Scope.ADMIN)).text == "secret"


@pytest.mark.parametrize(
    "authorization", ["Bearer captiond_wrong", "Bearer ", "Bearer", "Basic YTpi", "captiond_", "Bearer é", ""]
)
def test_what_is_no_key_is_refused(client: Client, key: Callable[..., Headers], authorization: str) -> None:
    key("alice")

    assert client.get("/v1/jobs", headers={"Authorization": authorization}).status_code == 401


def test_a_key_works_at_once_and_until_it_is_revoked(
    app: Flask, client: Client, settings: Settings, key: Callable[..., Headers]
) -> None:
    headers = key("alice")
    assert client.get("/v1/jobs", headers=headers).status_code == 200

    revoke_key(settings, "alice")
    app.extensions["captiond"].keyring._looked -= 10

    answer = client.get("/v1/jobs", headers=headers)
    assert answer.status_code == 401 and "revoked" in answer.json["detail"]


def test_a_stranger_learns_that_the_service_is_well_and_no_more(
    client: Client, key: Callable[..., Headers], announce: Callable[[ModelInfo], None]
) -> None:
    announce(MODEL)

    assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").json == {"status": "ready"}
    assert client.get("/readyz", headers=key("alice")).json["model"]["name"] == MODEL.name


class TestOthers:
    """Alice has sent a picture and a batch; Bob knows the addresses."""

    @pytest.fixture
    def alice(self, key: Callable[..., Headers]) -> Headers:
        return key("alice")

    @pytest.fixture
    def bob(self, key: Callable[..., Headers]) -> Headers:
        return key("bob")

    @pytest.fixture
    def job(self, client: Client, alice: Headers) -> str:
        return str(client.post("/v1/jobs", data=picture(), headers=alice).json["id"])

    @pytest.fixture
    def batch(self, client: Client, alice: Headers) -> str:
        data = {"images": [(io.BytesIO(encoded()), "a.jpg")]}
        return str(client.post("/v1/batches", data=data, headers=alice).json["id"])

    def test_another_s_things_answer_as_those_that_never_were(
        self, app: Flask, client: Client, bob: Headers, job: str, batch: str
    ) -> None:
        never = "019ddc1a-53f0-7c52-a5f0-2b8e6a9d1c33"
        asked = 0
        for rule in app.url_map.iter_rules():
            if not rule.arguments & {"job_id", "batch_id"}:
                continue
            for method in (rule.methods or set()) - {"OPTIONS", "HEAD"}:
                answers = []
                for job_id, batch_id in ((job, batch), (never, never)):
                    path = rule.rule.replace("<job_id>", job_id).replace("<batch_id>", batch_id)
                    answer = client.open(path, method=method, headers=bob)
                    answers.append((answer.status_code, answer.text, dict(answer.headers)))
                assert answers[0] == answers[1] and answers[0][0] == 404, (method, rule.rule)
                asked += 1
        assert asked >= 9

    def test_lists_hold_one_s_own(self, client: Client, alice: Headers, bob: Headers, job: str) -> None:
        assert [one["id"] for one in client.get("/v1/jobs", headers=alice).json["jobs"]] == [job]
        assert client.get("/v1/jobs", headers=bob).json["jobs"] == []
        assert job not in client.get("/", headers=bob).text

    def test_a_caption_made_for_another_is_not_had_from_the_cache(
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

        assert client.post("/v1/jobs", data=picture(), headers=bob).json["cached"] is False
        assert client.post("/v1/jobs", data=picture(), headers=alice).json["cached"] is True

    def test_another_s_idempotency_key_is_free(self, client: Client, alice: Headers, bob: Headers) -> None:
        sent = [
            client.post("/v1/jobs", data=picture(), headers={**headers, "Idempotency-Key": "monday"}).json["id"]
            for headers in (alice, bob, alice)
        ]

        assert sent[0] == sent[2] != sent[1]

    def test_an_administrator_sees_everything(self, client: Client, key: Callable[..., Headers], job: str) -> None:
        root = key("root", Scope.ADMIN)

        assert client.get(f"/v1/jobs/{job}/image", headers=root).status_code == 200
        assert [one["id"] for one in client.get("/v1/jobs", headers=root).json["jobs"]] == [job]

    def test_the_owner_is_told_to_nobody(self, client: Client, alice: Headers, job: str) -> None:
        assert "alice" not in client.get(f"/v1/jobs/{job}", headers=alice).text


def test_an_open_job_s_quota_says_when_to_come_again(
    tmp_path: Path, redis: Redis, settings: Settings, key: Callable[..., Headers]
) -> None:
    few = settings.model_copy(update={"max_open_jobs_per_key": 1})
    headers = key("alice")
    client: Client = create_app(few, redis=redis).test_client()
    client.post("/v1/jobs", data=picture(), headers=headers)

    answer = client.post("/v1/jobs", data=picture(), headers=headers)

    assert (answer.status_code, answer.json["type"]) == (429, "/problems/quota-used-up")
    assert int(answer.headers["Retry-After"]) > 0


def test_a_day_s_bytes_are_refused_before_anything_is_kept(
    redis: Redis, settings: Settings, key: Callable[..., Headers], stored: Callable[[], list[Path]]
) -> None:
    few = settings.model_copy(update={"max_bytes_per_key_and_day": len(encoded()) + 1})
    headers = key("alice")
    client: Client = create_app(few, redis=redis).test_client()
    assert client.post("/v1/jobs", data=picture(), headers=headers).status_code == 202

    answer = client.post("/v1/jobs", data=picture(), headers=headers)
    several = {"images": [(io.BytesIO(encoded()), "a.jpg")]}
    batch = client.post("/v1/batches", data=several, headers=headers)

    assert (answer.status_code, answer.json["type"]) == (429, "/problems/quota-used-up")
    assert batch.json["request_counts"]["failed"] == 1, "in a batch it fails alone"
    assert len(stored()) == 1
