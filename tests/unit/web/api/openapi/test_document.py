"""The OpenAPI document describes every route, and every response matches its description."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

import fakeredis
import pytest
from flask import Flask
from jsonschema import Draft202012Validator, ValidationError

from common.exports import FORMATS
from common.ledger import Ledger
from common.problems import KINDS
from tests.support.contract import assert_valid_response
from tests.support.images import encoded, numbered
from tests.unit.web.client import MODEL, Client
from web.api.openapi import document

#: Translates Flask's path parameters (`<name>`) to OpenAPI's (`{name}`).
BRACES = str.maketrans("<>", "{}")
#: Requests for a batch, in an order in which each has an effect.
BATCH_REQUESTS = [
    *[("GET", path) for path in ("", "/results", "/jobs", "/jobs?limit=1&status=failed")],
    *[("POST", path) for path in ("/items", "/seal", "/cancel", "/retry")],
    ("DELETE", ""),
    ("GET", ""),
]
METHODS = {"GET", "POST", "PUT", "PATCH", "DELETE"}


def operations() -> dict[str, dict[str, Any]]:
    return {
        f"{method.upper()} {path}": operation
        for path, methods in document()["paths"].items()
        for method, operation in methods.items()
    }


def test_the_document_describes_exactly_the_application_s_routes(app: Flask) -> None:
    served = {
        f"{method} {rule.rule.translate(BRACES)}"
        for rule in app.url_map.iter_rules()
        for method in METHODS & (rule.methods or set())
        if rule.endpoint != "static"
    }

    assert set(operations()) == served


def test_every_path_parameter_is_described() -> None:
    for name, operation in operations().items():
        parameters = operation.get("parameters", [])
        described = [parameter["name"] for parameter in parameters if parameter["in"] == "path"]
        assert described == re.findall(r"{(\w+)}", name), name


def test_operation_ids_are_unique() -> None:
    ids = [operation["operationId"] for operation in operations().values()]

    assert len(set(ids)) == len(ids)


def test_every_schema_is_valid_and_every_reference_resolves() -> None:
    schemas = document()["components"]["schemas"]
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)

    assert set(re.findall(r"#/components/schemas/(\w+)", str(document()))) <= set(schemas)


def test_every_problem_of_a_request_is_described() -> None:
    described = set(re.findall(r"/problems/[a-z-]+", str(document()["paths"])))
    of_jobs = {"worker-lost", "caption-failed", "deadline-exceeded", "bad-archive", "bad-archive-entry"}
    of_pictures = {"bad-manifest-row", "file-unreadable"}
    of_other_software = {"caption-pending", "job-canceled", "model-not-found"}  # shown in the shapes of its protocols
    excluded = {
        f"/problems/{slug}" for slug in (*of_jobs, *of_pictures, *of_other_software, "method-not-allowed")
    }  # that answers undescribed methods

    assert described == {kind.type for kind in KINDS.values()} - excluded


#: Paths that need no key.
UNPROTECTED = ("/healthz", "/readyz", "/readyz/captioning", "/openapi.json", "/docs")


class TestResponses:
    """Responses of every route match the document. Undescribed members are errors."""

    @pytest.fixture
    def job(self, client: Client) -> str:
        return str(send(client).json["id"])

    @pytest.fixture
    def batch(self, client: Client) -> str:
        images = {"images": [(io.BytesIO(data), "a.jpg") for data in (*numbered(2), b"text")]}
        answer = client.post("/v1/batches", data=images)
        assert_valid_response(answer)
        return str(answer.json["id"])

    @pytest.mark.parametrize("path", ["/", "/workers", "/v1/jobs", "/v1/models", "/v1/workers", *UNPROTECTED])
    def test_service_responses_match(self, client: Client, announce: Callable[..., None], job: str, path: str) -> None:
        assert_valid_response(client.get(path))
        announce(MODEL)
        assert_valid_response(client.get(path))

    @pytest.mark.parametrize("path", ["/v1/jobs", *UNPROTECTED])
    def test_service_responses_under_an_unknown_host_match(
        self, client: Client, announce: Callable[..., None], path: str
    ) -> None:
        announce(MODEL)

        assert_valid_response(client.get(path, headers={"Host": "web:8080"}))

    def test_job_responses_match(self, client: Client, caption: Callable[[str, str], None], job: str) -> None:
        def get_job() -> Client:
            assert_valid_response(client.get(f"/jobs/{job}"))
            answer = client.get(f"/v1/jobs/{job}", headers={"Prefer": "wait=1"})
            assert_valid_response(answer)
            return answer

        get_job()
        caption(job, "a red ball")
        etag = get_job().headers["ETag"]
        assert_valid_response(client.get(f"/v1/jobs/{job}", headers={"If-None-Match": etag}))
        image = client.get(f"/v1/jobs/{job}/image")
        assert_valid_response(image)
        unchanged = client.get(f"/v1/jobs/{job}/image", headers={"If-None-Match": image.headers["ETag"]})
        assert unchanged.status_code == 304
        assert_valid_response(unchanged)
        assert_valid_response(client.get(f"/v1/jobs/{job}/image?size=0"))
        for edited in ("my ball", None, ""):
            assert_valid_response(client.patch(f"/v1/jobs/{job}", json={"caption": edited}))
            assert_valid_response(client.patch("/v1/jobs", json={"captions": {job: edited}}))
        assert_valid_response(client.post(f"/v1/jobs/{job}/cancel"))
        assert_valid_response(client.get("/v1/jobs?limit=1&status=succeeded"))
        assert_valid_response(client.delete(f"/v1/jobs/{job}"))

    def test_responses_for_a_deleted_or_unknown_job_match(self, client: Client, ledger: Ledger, job: str) -> None:
        ledger.delete(job)
        for job_id in (job, "other"):
            for method, path in [("GET", ""), ("DELETE", ""), ("PATCH", ""), ("POST", "/cancel"), ("GET", "/image")]:
                assert_valid_response(client.open(f"/v1/jobs/{job_id}{path}", method=method))
            assert_valid_response(client.get(f"/jobs/{job_id}", headers={"Accept": "text/html"}))

    def test_batch_responses_match(self, client: Client, caption: Callable[[str, str], None], batch: str) -> None:
        caption(client.get("/v1/jobs?status=queued").json["jobs"][0]["id"], "a red ball")
        results = [("GET", f"/results?format={format}") for format in (*FORMATS, "xls")]
        client.post(f"/v1/batches/{batch}/cancel")
        etag = client.get(f"/v1/batches/{batch}/results").headers["ETag"]
        assert_valid_response(client.get(f"/v1/batches/{batch}/results", headers={"If-None-Match": etag}))
        for batch_id in (batch, "other"):
            for method, path in [*results, *BATCH_REQUESTS]:
                assert_valid_response(client.open(f"/v1/batches/{batch_id}{path}", method=method))
            assert_valid_response(client.get(f"/batches/{batch_id}"))

    def test_open_batch_responses_match(self, client: Client) -> None:
        opened = client.post("/v1/batches", json={"name": "Holidays", "options": {"beams": 2}})
        assert_valid_response(opened)
        path = opened.json["urls"]["items"]
        for data in (*numbered(2), numbered(2)[1], b"text"):
            form = {"image": (io.BytesIO(data), "a.jpg"), "custom_id": "summer/a.jpg"}
            assert_valid_response(client.post(path, data=form))
        assert_valid_response(client.get("/v1/batches?limit=1"))
        assert_valid_response(client.post("/v1/batches", json={"name": ""}))

    @pytest.mark.parametrize("data", [b"", b"PK"])
    def test_archive_responses_match(self, client: Client, data: bytes) -> None:
        answer = client.post("/v1/batches", data=data, content_type="application/zip")

        assert_valid_response(answer)

    @pytest.mark.parametrize("data", [b"", b"text", encoded()[:2000], bytes(200_000)])
    def test_responses_for_an_invalid_image_match(self, client: Client, data: bytes) -> None:
        assert_valid_response(send(client, data))
        assert_valid_response(
            client.post("/", data={"images": (io.BytesIO(data), "a.jpg")}, headers={"Accept": "text/html"})
        )

    def test_responses_for_a_repeated_upload_match(
        self, client: Client, caption: Callable[..., None], announce: Any
    ) -> None:
        announce(MODEL)
        key = {"Idempotency-Key": "one"}
        job = send(client, None, key).json["id"]
        caption(job, "a red ball")
        assert_valid_response(send(client, None, key))
        assert_valid_response(send(client, numbered(3)[1], key))
        assert_valid_response(send(client, None, {"Prefer": "wait=1"}))

    def test_responses_for_refused_urls_match(self, client: Client) -> None:
        assert_valid_response(client.post("/v1/jobs", json={"url": "https://example.com/photo.jpg"}))
        assert_valid_response(send(client, None, {"Webhook-URL": "http://127.0.0.1/"}))
        assert_valid_response(client.post("/v1/batches", headers={"Webhook-URL": "ftp://example.com/"}))

    def test_responses_for_a_cross_site_request_and_without_redis_match(
        self, client: Client, server: fakeredis.FakeServer
    ) -> None:
        assert_valid_response(send(client, None, {"Sec-Fetch-Site": "cross-site"}))
        server.connected = False
        for path in ("/v1/jobs", "/v1/jobs/a", "/v1/batches/a", "/v1/models", "/readyz", "/readyz/captioning", "/"):
            assert_valid_response(client.get(path))

    def test_an_undescribed_member_fails_validation(self, client: Client, app: Flask) -> None:
        app.view_functions["health.alive"] = lambda: {"status": "ok", "secret": 1}

        with pytest.raises(ValidationError, match="secret"):
            assert_valid_response(client.get("/healthz"))


def send(client: Client, data: bytes | None = None, headers: dict[str, str] | None = None) -> Client:
    image = (io.BytesIO(encoded() if data is None else data), "ball.jpg")
    answer = client.post("/v1/jobs", data={"image": image}, headers=headers)
    assert_valid_response(answer)
    return answer


class TestPage:
    def test_the_page_shows_every_operation_and_every_schema(self, client: Client) -> None:
        page = client.get("/docs").text

        assert "<code>POST ended</code>" in page
        for name, operation in operations().items():
            assert f"<code>{name}</code>" in page
            assert f'id="{operation["operationId"]}"' in page
        for name in document()["components"]["schemas"]:
            assert f'id="{name}-schema"' in page

    def test_the_page_s_internal_links_resolve(self, client: Client) -> None:
        page = client.get("/docs").text

        assert set(re.findall(r'href="#([^"]+)"', page)) <= set(re.findall(r'id="([^"]+)"', page))

    def test_the_page_has_no_inline_script_or_style(self, client: Client) -> None:
        page = client.get("/docs").text

        assert "<script" not in page and "<style" not in page and not re.search(r"\s(style|on\w+)=", page)
