"""Models, health checks, error responses and security headers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from unittest.mock import Mock

import fakeredis
import pytest
from redis import Redis
from redis.exceptions import OutOfMemoryError, ReadOnlyError, ResponseError

from common.jobs import ModelInfo
from common.ledger import Components, Ledger, Worker
from common.settings import Settings
from common.translation import Message
from tests.support.images import encoded
from tests.unit.web.client import MODEL, Client
from web import create_app

DEMO = ModelInfo(name="demo", version="sha256:2", demo=True)
DEMO_WORKER, WORKER = Worker(name="host-1", model=DEMO), Worker(name="host-2", model=MODEL)
WORKER_AWAY = Worker(name="host-3", model=MODEL, unavailable=Message("It is away."))


class TestModels:
    def test_there_is_no_model_without_a_worker(self, client: Client) -> None:
        assert client.get("/v1/models").json == {"models": [], "captioning": None, "notice": None}

    def test_the_model_of_the_live_worker_is_listed(self, client: Client, announce: Callable[..., None]) -> None:
        announce(MODEL)

        models = client.get("/v1/models").json

        assert models is not None
        assert models["captioning"] == MODEL.model_dump()
        assert models["models"] == [{**MODEL.model_dump(), "workers": 1}]
        assert models["notice"] is None

    @pytest.mark.parametrize(
        ("default_model", "workers", "notice"),
        [
            (None, [DEMO_WORKER], "A small demo model writes these captions."),
            (None, [WORKER, DEMO_WORKER], None),
            (None, [DEMO_WORKER, WORKER], None),
            (None, [WORKER_AWAY, DEMO_WORKER], "A small demo model writes these captions."),
            (None, [WORKER_AWAY], "It is away. Pictures are accepted and wait."),
            (DEMO.name, [], None),
            (DEMO.name, [WORKER, DEMO_WORKER], "A small demo model writes these captions."),
            (MODEL.name, [WORKER, DEMO_WORKER], None),
            (MODEL.name, [WORKER_AWAY, DEMO_WORKER], "It is away. Pictures are accepted and wait."),
            (MODEL.name, [DEMO_WORKER], f"No worker with the model {MODEL.name} is running."),
        ],
    )
    def test_the_notice_is_about_the_models_that_caption_by_default(
        self,
        settings: Settings,
        redis: Redis,
        components: Components,
        default_model: str | None,
        workers: list[Worker],
        notice: str | None,
    ) -> None:
        for worker in workers:
            components.workers.announce(worker)
        settings = settings.model_copy(update={"default_model": default_model})
        client: Client = create_app(settings, redis=redis).test_client()

        shown = client.get("/v1/models").json["notice"]

        assert (shown or "").startswith(notice) if notice else shown is None


class TestQueue:
    def test_the_queue_has_counts_and_ages_by_lane(self, client: Client) -> None:
        empty = client.get("/v1/queue").json
        client.post("/v1/jobs", data=encoded(), content_type="image/jpeg")
        queue = client.get("/v1/queue").json

        nothing = {"waiting": 0, "oldest_seconds": 0.0}
        assert empty == {**nothing, "lanes": {"bulk": nothing, "interactive": nothing}}
        assert (queue["waiting"], queue["lanes"]["interactive"]["waiting"], queue["lanes"]["bulk"]) == (1, 1, nothing)
        assert queue["oldest_seconds"] >= 0


class TestHealth:
    def test_healthz_does_not_need_redis(self, client: Client, server: fakeredis.FakeServer) -> None:
        server.connected = False

        assert client.get("/healthz").status_code == 200

    def test_captioning_needs_a_live_worker(self, client: Client, announce: Callable[..., None]) -> None:
        before = client.get("/readyz/captioning")
        announce(MODEL)
        after = client.get("/readyz/captioning")

        assert (before.status_code, before.json["type"]) == (503, "/problems/not-ready")
        assert (after.status_code, after.json["model"]["name"]) == (200, MODEL.name)

    def test_readyz_needs_no_worker(self, client: Client) -> None:
        assert client.get("/readyz").json == {"status": "ready"}

    @pytest.mark.parametrize("path", ["/readyz", "/readyz/captioning"])
    def test_readiness_needs_redis(self, client: Client, server: fakeredis.FakeServer, path: str) -> None:
        server.connected = False

        assert client.get(path).status_code == 503

    @pytest.mark.parametrize(
        "error",
        [
            ReadOnlyError("READONLY You can't write against a read only replica."),
            OutOfMemoryError("OOM command not allowed when used memory > 'maxmemory'."),
            ResponseError("MISCONF Errors writing to the AOF file: No space left on device"),
            ResponseError("NOREPLICAS Not enough good replicas to write."),
        ],
    )
    def test_readyz_needs_a_redis_that_takes_writes(
        self, client: Client, redis: Redis, monkeypatch: pytest.MonkeyPatch, error: Exception
    ) -> None:
        monkeypatch.setattr(redis, "set", Mock(side_effect=error))

        answer = client.get("/readyz")

        assert (answer.status_code, answer.json["type"]) == (503, "/problems/store-unavailable")

    def test_readyz_needs_the_upload_store(self, client: Client, settings: Settings) -> None:
        (settings.data / "uploads").rmdir()

        answer = client.get("/readyz")

        assert (answer.status_code, answer.json["type"]) == (503, "/problems/uploads-unavailable")


class TestErrors:
    @pytest.mark.parametrize(
        ("method", "path", "status", "slug"),
        [("get", "/v1/nowhere", 404, "not-found"), ("put", "/v1/jobs", 405, "method-not-allowed")],
    )
    def test_an_unknown_path_or_method_is_a_problem(
        self, client: Client, method: str, path: str, status: int, slug: str
    ) -> None:
        answer = getattr(client, method)(path)

        assert (answer.status_code, answer.mimetype) == (status, "application/problem+json")
        assert (answer.json["type"], answer.json["status"]) == (f"/problems/{slug}", status)

    def test_method_not_allowed_lists_the_allowed_methods(self, client: Client) -> None:
        assert client.put("/v1/jobs").headers["Allow"] == "GET, HEAD, OPTIONS, PATCH, POST"

    def test_an_unexpected_error_discloses_no_details(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: object, **__: object) -> None:
            raise RuntimeError("secret at /srv/place")

        monkeypatch.setattr(Ledger, "recent", fail)

        for path in ("/v1/jobs", "/"):
            answer = client.get(path, headers={"Accept": "text/html"})
            assert answer.status_code == 500
            assert "secret" not in answer.text and "srv" not in answer.text
        assert client.get("/v1/jobs").json["type"] == "/problems/internal"

    def test_browsers_get_html_and_other_clients_a_problem(self, client: Client) -> None:
        browser = client.get("/nowhere", headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
        other = client.get("/nowhere", headers={"Accept": "*/*"})

        assert (browser.mimetype, other.mimetype) == ("text/html", "application/problem+json")
        assert "Back to the start page" in browser.text


class TestHeaders:
    @pytest.mark.parametrize("path", ["/", "/v1/jobs", "/nowhere", "/healthz", "/static/main.js"])
    def test_every_response_has_the_security_headers(self, client: Client, path: str) -> None:
        with client.get(path) as answer:
            policy = answer.headers["Content-Security-Policy"]

        assert policy.startswith("default-src 'none'")
        assert "unsafe" not in policy and "frame-ancestors 'none'" in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "same-origin"

    @pytest.mark.parametrize(
        "headers",
        [
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
        ],
    )
    def test_cross_site_writes_are_refused(self, client: Client, headers: dict[str, str]) -> None:
        answer = client.post("/v1/jobs", headers=headers)

        assert (answer.status_code, answer.json["type"]) == (403, "/problems/foreign-origin")

    @pytest.mark.parametrize(
        "headers", [{}, {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}, {"Origin": "http://localhost"}]
    )
    def test_same_origin_writes_and_other_clients_are_accepted(self, client: Client, headers: dict[str, str]) -> None:
        assert client.post("/v1/jobs", headers=headers).status_code == 400  # a missing image, but not forbidden


def test_the_web_tier_never_imports_torch() -> None:
    code = "import sys, web, web.app; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
