"""`/v1/batches`: many images in one or many requests. An invalid image fails without affecting the others."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from kombu.connection import Connection
from redis import Redis

from common.ledger import Components, Ledger
from common.settings import Settings
from tests.support.images import encoded, numbered
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

    def test_the_folders_of_file_names_are_kept(self, client: Client) -> None:
        files = [(io.BytesIO(data), name) for data, name in zip(numbered(2), ("a/b.jpg", "../c/d.jpg"), strict=True)]

        batch = client.post("/v1/batches", data={"images": files}).json

        jobs = client.get(batch["urls"]["jobs"]).json["jobs"]
        assert [(job["custom_id"], job["input"]["filename"]) for job in jobs] == [
            ("a/b.jpg", "b.jpg"),
            ("c/d.jpg", "d.jpg"),
        ]

    def test_cancel_keeps_finished_jobs(self, client: Client, caption: Callable[[str, str], None]) -> None:
        batch = send(client, numbered(3)).json
        caption(results(client, batch)[1]["id"], "a red ball")

        counts = client.post(batch["urls"]["cancel"]).json["request_counts"]

        assert (counts["succeeded"], counts["canceled"]) == (1, 2)

    @pytest.mark.parametrize(("method", "path"), [("get", ""), ("get", "/results"), ("post", "/cancel")])
    def test_an_unknown_batch_is_not_found(self, client: Client, method: str, path: str) -> None:
        answer = getattr(client, method)(f"/v1/batches/nothing{path}")

        assert (answer.status_code, answer.json["type"]) == (404, "/problems/batch-not-found")


def open_batch(client: Client, **members: object) -> dict[str, Any]:
    answer = client.post("/v1/batches", json=members)
    assert answer.status_code == 201
    return dict(answer.json)


def add(client: Client, batch: dict[str, Any], data: bytes, custom_id: str = "a.jpg") -> Any:
    return client.post(batch["urls"]["items"], data={"image": (io.BytesIO(data), "x.jpg"), "custom_id": custom_id})


class TestOpenBatch:
    def test_an_open_batch_takes_items_until_it_is_sealed(self, client: Client) -> None:
        first, second = numbered(2)
        batch = open_batch(client, name="Holidays")
        added = add(client, batch, first, "summer/a.jpg")
        before = client.get(batch["urls"]["self"]).json
        sealed = client.post(batch["urls"]["seal"]).json
        refused = add(client, batch, second, "b.jpg")

        assert (batch["name"], batch["status"]) == ("Holidays", "open")
        assert (added.status_code, added.json["custom_id"], added.json["batch"]) == (202, "summer/a.jpg", batch["id"])
        assert [before["status"], sealed["status"]] == ["open", "in_progress"]
        assert (refused.status_code, refused.json["type"]) == (409, "/problems/batch-sealed")

    def test_the_same_picture_again_is_the_same_job_even_after_the_seal(
        self, client: Client, stored: Callable[[], list[Path]]
    ) -> None:
        batch, image = open_batch(client), encoded()
        first, again = add(client, batch, image), add(client, batch, image)
        client.post(batch["urls"]["seal"])
        late = add(client, batch, image)

        assert [answer.status_code for answer in (first, again, late)] == [202, 200, 200]
        assert first.json["id"] == again.json["id"] == late.json["id"]
        assert len(stored()) == 1

    def test_concurrent_requests_with_a_picture_create_one_job(self, app: Flask, client: Client) -> None:
        batch, image = open_batch(client), encoded()
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: add(app.test_client(), batch, image), range(8)))

        assert {answer.status_code for answer in answers} <= {200, 202}
        assert len({answer.json["id"] for answer in answers}) == 1
        assert client.get(batch["urls"]["self"]).json["request_counts"]["total"] == 1

    def test_another_picture_with_the_same_custom_id_is_a_conflict(self, client: Client) -> None:
        batch = open_batch(client)
        add(client, batch, numbered(2)[0])

        answer = add(client, batch, numbered(2)[1])

        assert (answer.status_code, answer.json["type"]) == (409, "/problems/custom-id-conflict")

    def test_two_batches_may_have_the_same_custom_id(self, client: Client) -> None:
        first, second = (add(client, open_batch(client), encoded()).json for _ in range(2))

        assert first["id"] != second["id"]

    def test_a_raw_body_has_its_custom_id_in_the_query(self, client: Client) -> None:
        batch = open_batch(client)

        answers = [
            client.post(batch["urls"]["items"], data=data, content_type="image/jpeg", **options)
            for data, options in zip(
                numbered(2),
                ({"query_string": {"custom_id": "a/b.jpg"}}, {"headers": {"X-Filename": "c\\d.jpg"}}),
                strict=True,
            )
        ]

        assert [answer.json["custom_id"] for answer in answers] == ["a/b.jpg", "c/d.jpg"]

    def test_an_invalid_picture_is_refused_and_its_custom_id_is_free(self, client: Client) -> None:
        batch = open_batch(client)

        refused, corrected = add(client, batch, b"text"), add(client, batch, encoded())

        assert (refused.json["type"], corrected.status_code) == ("/problems/unsupported-image", 202)

    def test_a_batch_takes_no_more_items_than_the_limit(self, client: Client) -> None:
        batch = open_batch(client)

        answers = [add(client, batch, data, f"{number}.jpg") for number, data in enumerate(numbered(5))]

        assert [answer.status_code for answer in answers] == [202, 202, 202, 202, 413]

    @pytest.mark.parametrize("body", [[], {"nam": "a"}, {"name": ""}, {"name": 1}, {"name": "a\ud800"}, {"options": 1}])
    def test_an_invalid_body_is_refused(self, client: Client, body: object) -> None:
        assert client.post("/v1/batches", json=body).json["type"] == "/problems/bad-request"

    def test_a_canceled_batch_says_why_and_takes_no_more_items(self, client: Client) -> None:
        batch = open_batch(client)
        add(client, batch, encoded())

        canceled = client.post(batch["urls"]["cancel"]).json

        assert (canceled["status"], canceled["request_counts"]["canceled"]) == ("canceled", 1)
        assert canceled["canceled_reason"] == "The batch was canceled by a request."
        assert add(client, batch, numbered(2)[1], "b.jpg").status_code == 409


class TestLists:
    def test_batches_are_listed_newest_first(self, client: Client) -> None:
        made = [open_batch(client, name=str(number))["id"] for number in range(5)]
        first = client.get("/v1/batches?limit=3").json
        rest = client.get(f"/v1/batches?limit=3&cursor={first['next']}").json

        assert [batch["id"] for batch in first["batches"] + rest["batches"]] == made[::-1]
        assert rest["next"] is None

    def test_the_jobs_of_a_batch_are_paged_in_the_order_of_submission(self, client: Client) -> None:
        batch = send(client, [*numbered(3), b"text"]).json
        path = batch["urls"]["jobs"]
        first = client.get(f"{path}?limit=2").json
        rest = client.get(f"{path}?limit=2&cursor={first['next']}").json
        failed = client.get(f"{path}?status=failed").json

        assert [job["custom_id"] for job in first["jobs"] + rest["jobs"]] == ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]
        assert rest["next"] is None
        assert [job["custom_id"] for job in failed["jobs"]] == ["3.jpg"]


class TestArchive:
    @pytest.mark.parametrize("raw", [True, False])
    def test_an_archive_is_stored_for_the_workers(
        self, client: Client, stored: Callable[[], list[Path]], raw: bool
    ) -> None:
        content = b"PK" * 50_000
        if raw:
            headers = {"X-Filename": "trip.zip"}
            answer = client.post("/v1/batches", data=content, content_type="application/zip", headers=headers)
        else:
            answer = client.post("/v1/batches", data={"archive": (io.BytesIO(content), "trip.zip")})

        assert (answer.status_code, answer.json["status"]) == (202, "in_progress")
        assert answer.json["archive"] == {"filename": "trip.zip", "status": "waiting", "error": None}
        assert [(path.name, path.read_bytes()) for path in stored()] == [(answer.json["id"], content)]

    def test_the_batch_of_an_archive_takes_no_items_and_is_not_sealed_by_clients(self, client: Client) -> None:
        batch = client.post("/v1/batches", data=b"PK", content_type="application/zip").json

        assert add(client, batch, encoded()).json["type"] == "/problems/batch-sealed"
        assert client.post(batch["urls"]["seal"]).json["status"] == "in_progress"

    def test_an_empty_or_too_large_archive_is_refused_and_not_stored(
        self, client: Client, stored: Callable[[], list[Path]]
    ) -> None:
        answers = [
            client.post("/v1/batches", data=data, content_type="application/zip") for data in (b"", bytes(300_001))
        ]

        assert [answer.status_code for answer in answers] == [400, 413]
        assert stored() == []
        assert client.get("/v1/batches").json["batches"] == []

    def test_an_archive_beside_images_is_refused(self, client: Client) -> None:
        form = {"archive": (io.BytesIO(b"PK"), "a.zip"), "images": (io.BytesIO(encoded()), "a.jpg")}

        assert client.post("/v1/batches", data=form).json["type"] == "/problems/bad-request"


class TestRetryAndDelete:
    def test_canceled_jobs_are_queued_again_and_refused_files_are_not(self, client: Client) -> None:
        batch = send(client, [*numbered(2), b"text"]).json
        client.post(batch["urls"]["cancel"])

        retried = client.post(batch["urls"]["retry"]).json

        assert (retried["status"], retried["canceled_reason"]) == ("in_progress", None)
        assert retried["request_counts"].items() >= {"queued": 2, "failed": 1, "canceled": 0}.items()

    def test_deleting_a_batch_deletes_its_jobs_and_images(
        self, client: Client, stored: Callable[[], list[Path]]
    ) -> None:
        batch = send(client, numbered(3)).json

        answer = client.delete(batch["urls"]["self"])

        assert answer.status_code == 204
        assert stored() == []
        assert client.get("/v1/jobs").json["jobs"] == client.get("/v1/batches").json["batches"] == []
        gone = client.get(batch["urls"]["self"])
        assert (gone.status_code, gone.json["type"]) == (410, "/problems/batch-gone")

    def test_deleting_a_batch_deletes_its_archive(self, client: Client, stored: Callable[[], list[Path]]) -> None:
        batch = client.post("/v1/batches", data=b"PK", content_type="application/zip").json

        client.delete(batch["urls"]["self"])

        assert stored() == []

    def test_the_recovery_deletes_the_rest_of_a_large_batch(
        self, client: Client, ledger: Ledger, redis: Redis, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("web.api.batches.MAX_DELETED_AT_ONCE", 1)
        batch = send(client, numbered(3)).json
        jobs = [line["id"] for line in results(client, batch)]

        client.delete(batch["urls"]["self"])

        assert [client.get(f"/v1/jobs/{job}").status_code for job in jobs] == [410, 200, 200]
        assert ledger.recover().expired == jobs[1:]


class TestCancelAfter:
    def test_a_job_is_canceled_after_the_time_and_says_why(
        self, client: Client, redis: Redis, settings: Settings
    ) -> None:
        headers = {"Cancel-After": "90", "Content-Type": "image/jpeg"}
        job = client.post("/v1/jobs", data=encoded(), headers=headers).json
        later = redis.time()[0] + 91
        Components(redis, settings, lambda: later).ledger.recover()

        canceled = client.get(job["urls"]["self"]).json
        assert (canceled["status"], canceled["error"]["type"]) == ("canceled", "/problems/deadline-exceeded")

    def test_the_batch_has_the_time_of_its_cancellation(self, client: Client) -> None:
        answer = client.post("/v1/batches", json={}, headers={"Cancel-After": "90"})

        moments = [datetime.fromisoformat(answer.json[name]) for name in ("created_at", "cancel_after")]
        assert (moments[1] - moments[0]).total_seconds() == pytest.approx(90, abs=0.01)

    @pytest.mark.parametrize("header", ["", "0", "-1", "1.5", "soon", "99999999999"])
    @pytest.mark.parametrize("path", ["/v1/jobs", "/v1/batches"])
    def test_an_invalid_time_is_refused(self, client: Client, header: str, path: str) -> None:
        answer = client.post(path, data={"image": (io.BytesIO(encoded()), "a.jpg")}, headers={"Cancel-After": header})

        assert answer.json["type"] == "/problems/bad-request"
        assert "`Cancel-After`" in answer.json["detail"]
