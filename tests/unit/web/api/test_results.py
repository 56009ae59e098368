"""`/v1/batches/{id}/results`: formats, headers and conditional requests. `common.exports` has the formats' contents."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Callable
from typing import Any

import pytest

from common.exports import FORMATS
from tests.support.images import numbered
from tests.unit.web.client import Client

Caption = Callable[[str, str], None]


@pytest.fixture
def batch(client: Client, caption: Caption) -> str:
    """A finished batch: a/b.jpg with a caption, and a damaged file."""
    images = [(io.BytesIO(numbered(1)[0]), "b.jpg"), (io.BytesIO(b"text"), "bad.jpg")]
    sent = client.post("/v1/batches", data={"images": images, "custom_id": ["a/b.jpg", "bad.jpg"]}).json
    caption(client.get("/v1/jobs?status=queued").json["jobs"][0]["id"], "a red ball")
    return str(sent["id"])


def results(client: Client, batch: str, query: str = "", headers: dict[str, str] | None = None) -> Any:
    return client.get(f"/v1/batches/{batch}/results?{query}", headers=headers)


class TestFormats:
    def test_json_lines_are_the_default_and_include_failed_images(self, client: Client, batch: str) -> None:
        answer = results(client, batch)

        rows = [json.loads(line) for line in answer.text.splitlines()]
        assert answer.mimetype == "application/jsonl"
        assert [(row["custom_id"], row["caption"]) for row in rows] == [("a/b.jpg", "a red ball"), ("bad.jpg", None)]

    def test_csv_is_utf_8(self, client: Client, batch: str) -> None:
        answer = results(client, batch, "format=csv")

        assert answer.content_type == "text/csv; charset=utf-8"
        assert [row["status"] for row in csv.DictReader(io.StringIO(answer.text))] == ["succeeded", "failed"]

    @pytest.mark.parametrize(
        ("query", "name"),
        [
            ("format=txt.zip", "a/b.txt"),
            ("format=txt.zip&names=replace", "a/b.txt"),
            ("format=txt.zip&names=append", "a/b.jpg.txt"),
            ("format=xmp.zip", "a/b.jpg.xmp"),
            ("format=xmp.zip&names=replace", "a/b.xmp"),
        ],
    )
    def test_sidecars_are_named_as_asked(self, client: Client, batch: str, query: str, name: str) -> None:
        answer = results(client, batch, query)

        with zipfile.ZipFile(io.BytesIO(answer.data)) as archive:
            assert archive.namelist() == [name]

    @pytest.mark.parametrize("format", FORMATS)
    def test_every_format_is_a_download_that_uses_the_edited_caption(
        self, client: Client, batch: str, format: str
    ) -> None:
        job = client.get("/v1/jobs?status=succeeded").json["jobs"][0]["id"]
        client.patch(f"/v1/jobs/{job}", json={"caption": "my ball"})

        answer = results(client, batch, f"format={format}")

        assert answer.headers["Content-Disposition"].startswith('attachment; filename="')
        assert batch in answer.headers["Content-Disposition"] or format == "hf"
        content = answer.data
        if format.endswith(".zip"):
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                content = archive.read(archive.namelist()[0])
        assert b"my ball" in content

    @pytest.mark.parametrize(
        "query", ["format=xls", "format=", "format=txt.zip&names=other", "format=csv&names=append"]
    )
    def test_an_unknown_format_or_name_is_refused(self, client: Client, batch: str, query: str) -> None:
        answer = results(client, batch, query)

        assert (answer.status_code, answer.json["type"]) == (400, "/problems/bad-request")

    def test_large_results_are_complete(self, client: Client, batch: str, monkeypatch: pytest.MonkeyPatch) -> None:
        whole = results(client, batch).data

        monkeypatch.setattr("web.api.results.CHUNK_BYTES", 10)

        assert results(client, batch).data == whole


class TestConditionalRequests:
    def test_unchanged_results_of_a_finished_batch_are_not_sent_again(self, client: Client, batch: str) -> None:
        first = results(client, batch)

        again = results(client, batch, headers={"If-None-Match": first.headers["ETag"]})

        assert (again.status_code, again.data) == (304, b"")

    @pytest.mark.parametrize("change", ["edit", "delete"])
    def test_changed_results_are_sent(self, client: Client, batch: str, change: str) -> None:
        tag = results(client, batch).headers["ETag"]
        job = client.get("/v1/jobs?status=succeeded").json["jobs"][0]["urls"]["self"]

        client.patch(job, json={"caption": "my ball"}) if change == "edit" else client.delete(job)

        answer = results(client, batch, headers={"If-None-Match": tag})
        assert answer.status_code == 200
        assert answer.headers["ETag"] != tag

    def test_each_format_has_its_own_etag(self, client: Client, batch: str) -> None:
        queries = [*(f"format={format}" for format in FORMATS), "format=txt.zip&names=append"]

        tags = {results(client, batch, query).headers["ETag"] for query in queries}

        assert len(tags) == len(queries)

    def test_results_of_an_unfinished_batch_have_no_etag(self, client: Client) -> None:
        sent = client.post("/v1/batches", data={"images": [(io.BytesIO(numbered(1)[0]), "b.jpg")]}).json

        answer = results(client, sent["id"], headers={"If-None-Match": "*"})

        assert answer.status_code == 200
        assert "ETag" not in answer.headers

    def test_parts_are_not_offered(self, client: Client, batch: str) -> None:
        answer = results(client, batch, headers={"Range": "bytes=0-3"})

        assert (answer.status_code, answer.headers["Accept-Ranges"]) == (200, "none")
