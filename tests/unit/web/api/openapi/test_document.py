"""The description of the API says what there is, and the service answers as it is described."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

import fakeredis
import pytest
from flask import Flask
from jsonschema import Draft202012Validator, ValidationError

from common.ledger import Ledger
from common.problems import KINDS
from tests.support.contract import assert_valid_response
from tests.support.images import encoded, numbered
from tests.unit.web.client import MODEL, Client
from web.api.openapi import document

#: Flask's brackets around a part of a path are OpenAPI's braces.
BRACES = str.maketrans("<>", "{}")
METHODS = {"GET", "POST", "PUT", "PATCH", "DELETE"}


def operations() -> dict[str, dict[str, Any]]:
    return {
        f"{method.upper()} {path}": entry
        for path, methods in document()["paths"].items()
        for method, entry in methods.items()
    }


def test_every_route_is_described_and_no_other(app: Flask) -> None:
    served = {
        f"{method} {rule.rule.translate(BRACES)}"
        for rule in app.url_map.iter_rules()
        for method in METHODS & (rule.methods or set())
        if rule.endpoint != "static"  # files, not an interface
    }

    assert set(operations()) == served


def test_every_part_of_a_path_is_a_parameter() -> None:
    for name, entry in operations().items():
        described = [part["name"] for part in entry.get("parameters", []) if part["in"] == "path"]
        assert described == re.findall(r"{(\w+)}", name), name


def test_every_operation_has_a_name_of_its_own() -> None:
    names = [entry["operationId"] for entry in operations().values()]

    assert len(set(names)) == len(names)


def test_every_shape_is_a_schema_and_every_reference_leads_to_one() -> None:
    shapes = document()["components"]["schemas"]
    for shape in shapes.values():
        Draft202012Validator.check_schema(shape)

    assert set(re.findall(r"#/components/schemas/(\w+)", str(document()))) <= set(shapes)


def test_every_problem_of_a_request_is_described_somewhere() -> None:
    described = set(re.findall(r"/problems/[a-z-]+", str(document()["paths"])))
    # The first two are no request's but a job's; the last answers a method that is not described.
    others = {"/problems/worker-lost", "/problems/caption-failed", "/problems/method-not-allowed"}

    assert described == {kind.type for kind in KINDS.values()} - others


class TestAnswers:
    """Real answers of every route; the closed schemas refuse a member that is not described."""

    @pytest.fixture
    def job(self, client: Client) -> str:
        return str(send(client).json["id"])

    @pytest.fixture
    def batch(self, client: Client) -> str:
        pictures = {"images": [(io.BytesIO(data), "a.jpg") for data in (*numbered(2), b"text")]}
        answer = client.post("/v1/batches", data=pictures)
        assert_valid_response(answer)
        return str(answer.json["id"])

    @pytest.mark.parametrize("path", ["/", "/v1/jobs", "/v1/models", "/healthz", "/readyz", "/openapi.json", "/docs"])
    def test_of_the_service(self, client: Client, announce: Callable[..., None], job: str, path: str) -> None:
        assert_valid_response(client.get(path))
        announce(MODEL)
        assert_valid_response(client.get(path))

    @pytest.mark.parametrize("path", ["/v1/jobs", "/healthz", "/readyz", "/openapi.json", "/docs"])
    def test_of_the_service_under_a_host_name_that_it_was_not_told(
        self, client: Client, announce: Callable[..., None], path: str
    ) -> None:
        announce(MODEL)

        assert_valid_response(client.get(path, headers={"Host": "web:8080"}))

    def test_of_a_job(self, client: Client, caption: Callable[[str, str], None], job: str) -> None:
        def look() -> Client:
            assert_valid_response(client.get(f"/jobs/{job}"))
            answer = client.get(f"/v1/jobs/{job}", headers={"Prefer": "wait=1"})
            assert_valid_response(answer)
            return answer

        look()
        caption(job, "a red ball")
        known = look().headers["ETag"]
        assert_valid_response(client.get(f"/v1/jobs/{job}", headers={"If-None-Match": known}))
        picture = client.get(f"/v1/jobs/{job}/image")
        assert_valid_response(picture)
        again = client.get(f"/v1/jobs/{job}/image", headers={"If-None-Match": picture.headers["ETag"]})
        assert again.status_code == 304
        assert_valid_response(again)
        assert_valid_response(client.get(f"/v1/jobs/{job}/image?size=0"))
        assert_valid_response(client.post(f"/v1/jobs/{job}/cancel"))
        assert_valid_response(client.get("/v1/jobs?limit=1&status=succeeded"))
        assert_valid_response(client.delete(f"/v1/jobs/{job}"))

    def test_of_a_job_that_is_gone_or_never_was(self, client: Client, ledger: Ledger, job: str) -> None:
        ledger.delete(job)
        for which in (job, "other"):
            for method, path in [("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/image")]:
                assert_valid_response(client.open(f"/v1/jobs/{which}{path}", method=method))
            assert_valid_response(client.get(f"/jobs/{which}", headers={"Accept": "text/html"}))

    def test_of_a_batch(self, client: Client, caption: Callable[[str, str], None], batch: str) -> None:
        caption(client.get("/v1/jobs?status=queued").json["jobs"][0]["id"], "a red ball")
        for which in (batch, "other"):
            for method, path in [("GET", ""), ("GET", "/results"), ("POST", "/cancel")]:
                assert_valid_response(client.open(f"/v1/batches/{which}{path}", method=method))
            assert_valid_response(client.get(f"/batches/{which}"))

    @pytest.mark.parametrize("data", [b"", b"text", encoded()[:2000], bytes(200_000)])
    def test_of_a_bad_picture(self, client: Client, data: bytes) -> None:
        assert_valid_response(send(client, data))
        assert_valid_response(
            client.post("/", data={"images": (io.BytesIO(data), "a.jpg")}, headers={"Accept": "text/html"})
        )

    def test_of_what_is_sent_again(self, client: Client, caption: Callable[..., None], announce: Any) -> None:
        announce(MODEL)
        key = {"Idempotency-Key": "one"}
        job = send(client, None, key).json["id"]
        caption(job, "a red ball")
        assert_valid_response(send(client, None, key))
        assert_valid_response(send(client, numbered(3)[1], key))
        assert_valid_response(send(client, None, {"Prefer": "wait=1"}))

    def test_of_urls_that_are_not_used(self, client: Client) -> None:
        assert_valid_response(client.post("/v1/jobs", json={"url": "https://example.com/photo.jpg"}))
        assert_valid_response(send(client, None, {"Webhook-URL": "http://127.0.0.1/"}))
        assert_valid_response(client.post("/v1/batches", headers={"Webhook-URL": "ftp://example.com/"}))

    def test_of_a_foreign_page_and_a_store_that_is_away(self, client: Client, server: fakeredis.FakeServer) -> None:
        assert_valid_response(send(client, None, {"Sec-Fetch-Site": "cross-site"}))
        server.connected = False
        for path in ("/v1/jobs", "/v1/jobs/a", "/v1/batches/a", "/v1/models", "/readyz", "/"):
            assert_valid_response(client.get(path))

    def test_would_be_found_wanting_with_a_member_more(self, client: Client, app: Flask) -> None:
        app.view_functions["health.alive"] = lambda: {"status": "ok", "secret": 1}

        with pytest.raises(ValidationError, match="secret"):
            assert_valid_response(client.get("/healthz"))


def send(client: Client, data: bytes | None = None, headers: dict[str, str] | None = None) -> Client:
    image = (io.BytesIO(encoded() if data is None else data), "ball.jpg")
    answer = client.post("/v1/jobs", data={"image": image}, headers=headers)
    assert_valid_response(answer)
    return answer


class TestPage:
    def test_it_shows_every_request_and_every_shape(self, client: Client) -> None:
        page = client.get("/docs").text

        assert "<code>POST ended</code>" in page
        for name, entry in operations().items():
            assert f"<code>{name}</code>" in page
            assert f'id="{entry["operationId"]}"' in page
        for name in document()["components"]["schemas"]:
            assert f'id="{name}-shape"' in page

    def test_its_links_lead_somewhere_on_it(self, client: Client) -> None:
        page = client.get("/docs").text

        assert set(re.findall(r'href="#([^"]+)"', page)) <= set(re.findall(r'id="([^"]+)"', page))

    def test_it_has_no_script_and_no_style_inside(self, client: Client) -> None:
        page = client.get("/docs").text

        assert "<script" not in page and "<style" not in page and not re.search(r"\s(style|on\w+)=", page)
