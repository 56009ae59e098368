"""`/v1/batches`: many images in one request. An invalid image fails without affecting the others."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from kombu.connection import Connection

from tests.support.images import numbered
from tests.unit.web.client import Client


def send(client: Client, images: list[bytes], **fields: object) -> Any:
    files = [(io.BytesIO(data), f"{number}.jpg") for number, data in enumerate(images)]
    return client.post("/v1/batches", data={"images": files, **fields})


def results(client: Client, batch: dict[str, Any]) -> list[dict[str, Any]]:
    answer = client.get(batch["urls"]["results"])
    assert answer.mimetype == "application/jsonl"
    return [json.loads(line) for line in answer.text.splitlines()]


class TestCreate:
    def test_the_response_is_the_batch_with_its_counts(self, client: Client) -> None:
        answer = send(client, numbered(3))

        assert answer.status_code == 202
        assert answer.headers["Location"] == answer.json["urls"]["self"]
        assert answer.json["status"] == "in_progress"
        assert answer.json["request_counts"] == {
            "total": 3,
            "queued": 3,
            "processing": 0,
            "succeeded": 0,
            "failed": 0,
            "canceled": 0,
        }

    def test_an_invalid_file_fails_without_the_others_and_has_an_error(self, client: Client) -> None:
        good, bad = numbered(1)[0], b"text"

        batch = send(client, [good, bad, b"", good]).json

        assert batch["request_counts"].items() >= {"total": 4, "queued": 2, "failed": 2}.items()
        lines = results(client, batch)
        assert [line["status"] for line in lines] == ["queued", "failed", "failed", "queued"]
        assert [line["error"]["type"] for line in lines[1:3]] == [
            "/problems/unsupported-image",
            "/problems/empty-upload",
        ]

    def test_a_batch_sends_one_notification(self, client: Client) -> None:
        with Connection("memory://") as broker:
            queue = broker.SimpleQueue("captiond", no_ack=True)
            queue.clear()
            send(client, [numbered(1)[0], b"text", *numbered(2)])

            assert queue.qsize() == 1

    def test_a_file_that_is_too_large_fails_without_the_others(self, client: Client) -> None:
        batch = send(client, [numbered(1)[0], bytes(150_000)]).json

        assert [line["status"] for line in results(client, batch)] == ["queued", "failed"]

    @pytest.mark.parametrize(
        ("images", "fields", "slug"),
        [
            ([], {}, "missing-image"),
            (numbered(5), {}, "too-many-images"),
            (numbered(2), {"custom_id": ["one"]}, "bad-request"),
            ([bytes(99_000)] * 4, {}, "upload-too-large"),
        ],
        ids=["none", "too many", "ids that do not match", "too large together"],
    )
    def test_an_invalid_batch_is_refused_as_a_whole(
        self, client: Client, images: list[bytes], fields: dict[str, object], slug: str
    ) -> None:
        answer = send(client, images, **fields)

        assert answer.json["type"] == f"/problems/{slug}"
        assert client.get("/v1/jobs").json["jobs"] == []


class TestReadAndCancel:
    def test_results_are_in_the_order_of_submission(self, client: Client, caption: Callable[[str, str], None]) -> None:
        batch = send(client, numbered(3), custom_id=["a", "b", "c"]).json
        for number, line in reversed(list(enumerate(results(client, batch)))):
            caption(line["id"], f"caption {number}")

        lines = results(client, batch)

        assert [(line["custom_id"], line["caption"]) for line in lines] == [
            ("a", "caption 0"),
            ("b", "caption 1"),
            ("c", "caption 2"),
        ]
        assert {(line["confidence"], line["unsure"]) for line in lines} == {(0.3, True)}
        assert client.get(batch["urls"]["self"]).json["status"] == "completed"

    def test_file_names_are_the_default_custom_ids(self, client: Client) -> None:
        batch = send(client, numbered(2)).json

        assert [line["custom_id"] for line in results(client, batch)] == ["0.jpg", "1.jpg"]

    def test_cancel_keeps_finished_jobs(self, client: Client, caption: Callable[[str, str], None]) -> None:
        batch = send(client, numbered(3)).json
        caption(results(client, batch)[1]["id"], "a red ball")

        counts = client.post(batch["urls"]["cancel"]).json["request_counts"]

        assert (counts["succeeded"], counts["canceled"]) == (1, 2)

    @pytest.mark.parametrize(("method", "path"), [("get", ""), ("get", "/results"), ("post", "/cancel")])
    def test_an_unknown_batch_is_not_found(self, client: Client, method: str, path: str) -> None:
        answer = getattr(client, method)(f"/v1/batches/nothing{path}")

        assert (answer.status_code, answer.json["type"]) == (404, "/problems/batch-not-found")
