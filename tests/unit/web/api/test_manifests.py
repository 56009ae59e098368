"""`POST /v1/batches` with a manifest: only below the operator's folders, and only for administrators."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from redis import Redis

from common import problems
from common.keyring import Scope
from common.ledger import Components
from common.settings import Settings
from tests.support.contract import assert_valid_response
from tests.support.keys import add_key
from tests.unit.web.client import Client
from web import create_app


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data=tmp_path, broker_url="memory://", manifest_roots="s3://bucket/photos /srv/photos")


def send(client: Client, manifest: object = "s3://bucket/photos/all.jsonl", **more: object) -> Any:
    return client.post("/v1/batches", json={"manifest": manifest, **more})


def test_the_response_is_the_batch_with_its_manifest(client: Client, tmp_path: Path) -> None:
    answer = send(client, name="Holidays", options={"beams": 2})

    assert answer.status_code == 202
    assert answer.headers["Location"] == answer.json["urls"]["self"]
    assert (answer.json["name"], answer.json["options"], answer.json["status"]) == (
        "Holidays", {"beams": 2}, "in_progress"
    )  # fmt: skip
    assert answer.json["manifest"] == {
        "url": "s3://bucket/photos/all.jsonl",
        "status": "waiting",
        "format": "jsonl",
        "output": f"file://{tmp_path}/results/{answer.json['id']}",
        "chunks": {"total": 0, "done": 0, "failed": 0, "canceled": 0},
        "pictures": {"captioned": 0, "failed": 0},
        "error": None,
    }
    assert_valid_response(answer)


def test_output_and_format_can_be_chosen(client: Client, tmp_path: Path) -> None:
    manifest = send(client, "file:///srv/photos/sub/", output="holidays/2026", format="parquet").json["manifest"]

    assert (manifest["output"], manifest["format"]) == (f"file://{tmp_path}/results/holidays/2026", "parquet")


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"manifest": "s3://bucket/photos2/all.jsonl"}, problems.URL_NOT_ALLOWED),
        ({"manifest": "s3://bucket/photos/../secret.jsonl"}, problems.URL_NOT_ALLOWED),
        ({"manifest": "s3://bucket/photos//secret.jsonl"}, problems.URL_NOT_ALLOWED),
        ({"manifest": "file:///etc/all.csv"}, problems.URL_NOT_ALLOWED),
        ({"manifest": "/srv/photos/all.csv"}, problems.URL_NOT_ALLOWED),
        ({"manifest": "https://bucket/photos/all.csv"}, problems.URL_NOT_ALLOWED),
        ({"manifest": "zip://a.csv::s3://bucket/photos/all.zip.csv"}, problems.URL_NOT_ALLOWED),
        ({"manifest": "s3://bucket/photos/all.csv", "output": "../uploads"}, problems.URL_NOT_ALLOWED),
        ({"manifest": "s3://bucket/photos/all.csv", "output": "file:///etc"}, problems.URL_NOT_ALLOWED),
        ({"manifest": "s3://bucket/photos/all.csv", "output": "s3://bucket/photos"}, problems.URL_NOT_ALLOWED),
        ({"manifest": "s3://bucket/photos/a-{0..999999}.tar"}, problems.BAD_MANIFEST),
        ({"manifest": "s3://bucket/photos/all.txt"}, problems.BAD_REQUEST),
        ({"manifest": 17}, problems.BAD_REQUEST),
        ({"manifest": "s3://bucket/photos/all.csv", "output": ""}, problems.BAD_REQUEST),
        ({"manifest": "s3://bucket/photos/all.csv", "format": ["csv"]}, problems.BAD_REQUEST),
        ({"manifest": "s3://bucket/photos/all.csv", "unknown": 1}, problems.BAD_REQUEST),
        ({"output": "a"}, problems.BAD_REQUEST),
    ],
)
def test_a_wrong_request_is_refused(client: Client, body: dict[str, object], kind: problems.Kind) -> None:
    answer = client.post("/v1/batches", json=body)

    assert (answer.status_code, answer.json["type"]) == (kind.status, kind.type)
    assert_valid_response(answer)
    assert client.get("/v1/batches").json["batches"] == []


def test_manifests_are_off_by_default(tmp_path: Path, redis: Redis) -> None:
    client = create_app(Settings(data=tmp_path, broker_url="memory://"), redis=redis).test_client()

    assert send(client).json["type"] == problems.MANIFESTS_OFF.type


def test_only_administrators_send_manifests(app: Flask, settings: Settings, redis: Redis) -> None:
    keys = {scope: add_key(settings, scope.value, scope) for scope in (Scope.SUBMIT, Scope.ADMIN)}
    client = create_app(settings, redis=redis).test_client()
    statuses = [
        client.post(
            "/v1/batches",
            json={"manifest": "s3://bucket/photos/all.csv"},
            headers={"Authorization": f"Bearer {secret}"},
        ).status_code
        for secret in keys.values()
    ]

    assert statuses == [403, 202]


def test_the_results_say_where_the_files_are(client: Client, components: Components, tmp_path: Path) -> None:
    batch = send(client).json
    claim = components.manifests.claim()
    assert claim
    for number in range(3):
        components.manifests.add_chunk(claim, number, {}, {})
    done, failed = components.chunks.claim(), components.chunks.claim()
    assert done and failed
    components.chunks.finish(done, captioned=9, failed=1)
    components.chunks.fail(failed, problems.WORKER_LOST("It stopped."))

    answer = client.get(batch["urls"]["results"])
    first, last = (client.get(f"{batch['urls']['results']}?limit=2&cursor={cursor}").json for cursor in (0, 2))
    body = answer.json
    shards = body.pop("shards")
    assert body == {"output": f"file://{tmp_path}/results/{batch['id']}", "format": "jsonl", "next": None}
    assert [(each["name"], each["status"]) for each in shards] == [
        ("part-00000.jsonl", "done"), ("part-00001.jsonl", "failed"), ("part-00002.jsonl", "waiting")
    ]  # fmt: skip
    assert (shards[0]["captioned"], shards[0]["failed"]) == (9, 1)
    assert shards[1]["error"]["detail"] == "It stopped."
    assert (first["next"], last["next"]) == ("2", None)
    assert [each["name"] for each in first["shards"] + last["shards"]] == [each["name"] for each in shards]
    assert_valid_response(client.get(batch["urls"]["results"]))
    assert client.get(f"{batch['urls']['results']}?cursor=-1").status_code == 400


def test_a_batch_of_a_manifest_is_sealed_by_its_cutting_and_can_be_canceled_and_deleted(client: Client) -> None:
    urls = send(client).json["urls"]

    assert client.post(urls["seal"]).json["status"] == "in_progress"
    assert client.post(urls["cancel"]).json["status"] == "canceled"
    assert client.post(urls["retry"]).json["status"] == "in_progress"
    assert client.delete(urls["self"]).status_code == 204
    assert client.get(urls["self"]).status_code == 410


def test_the_page_of_a_manifest_s_batch_names_it(client: Client) -> None:
    batch = send(client).json

    assert "all.jsonl" in client.get(f"/batches/{batch['id']}").text
    assert "all.jsonl" in client.get("/").text
