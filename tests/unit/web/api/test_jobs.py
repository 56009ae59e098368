"""`/v1/jobs`: create, poll, list, cancel and delete jobs."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fakeredis
import pytest
from flask import Flask
from kombu.connection import Connection
from PIL import Image
from redis import ConnectionError as RedisConnectionError
from redis import Redis

from common.ledger import Ledger
from common.settings import Settings
from tests.support.images import drawing, encoded, numbered
from tests.unit.web.client import MODEL, Client
from web import create_app

Caption = Callable[[str, str], None]


def send(client: Client, data: bytes | None = None, headers: dict[str, str] | None = None) -> Any:
    """Post an image as a multipart form; returns the response."""
    image = (io.BytesIO(encoded() if data is None else data), "ball.jpg")
    return client.post("/v1/jobs", data={"image": image}, headers=headers)


class TestNaN:
    def test_a_stored_nan_score_is_null_in_job_and_list(self, client: Client, redis: Redis, caption: Caption) -> None:
        job = send(client).json
        caption(job["id"], "a red ball")
        redis.hset(f"job:{job['id']}", "output", '{"caption": "a red ball", "score": NaN, "alternatives": []}')

        shown, listed = client.get(f"/v1/jobs/{job['id']}"), client.get("/v1/jobs")

        for answer in (shown, listed):
            assert answer.status_code == 200
            assert "NaN" not in answer.text
        assert shown.json["output"]["score"] is listed.json["jobs"][0]["output"]["score"] is None
        assert "a red ball" in client.get("/").text

    def test_nan_and_infinity_are_written_as_null(self, app: Flask) -> None:
        assert app.json.dumps({"score": float("nan"), "others": [float("inf")]}) == '{"score": null, "others": [null]}'


class TestCreate:
    def test_the_response_is_the_job_with_its_location(self, client: Client) -> None:
        answer = send(client)

        job = answer.json
        assert answer.status_code == 202
        assert answer.headers["Location"] == job["urls"]["self"] == f"/v1/jobs/{job['id']}"
        assert answer.headers["Retry-After"] == "1"
        assert (job["status"], job["output"], job["error"], job["cached"]) == ("queued", None, None, False)
        assert job["input"].items() >= {"filename": "ball.jpg", "format": "JPEG", "width": 320, "height": 240}.items()
        assert job["progress"]["position"] == 0

    def test_the_upload_is_stored_unchanged_and_the_worker_is_notified(
        self, client: Client, stored: Callable[[], list[Path]]
    ) -> None:
        image = encoded()

        with Connection("memory://") as broker:
            broker.SimpleQueue("captiond", no_ack=True).clear()
        send(client, image)

        (file,) = stored()
        assert file.read_bytes() == image
        with Connection("memory://") as broker:
            queue = broker.SimpleQueue("captiond", no_ack=True)
            assert queue.get(block=False).payload[:2] == [[], {}]

    @pytest.mark.parametrize("mimetype", ["image/jpeg", "application/octet-stream"])
    def test_the_request_body_may_be_the_image(self, client: Client, mimetype: str) -> None:
        answer = client.post("/v1/jobs", data=encoded(), content_type=mimetype, headers={"X-Filename": "ball.jpg"})

        assert (answer.status_code, answer.json["input"]["filename"]) == (202, "ball.jpg")

    @pytest.mark.parametrize(
        ("sent", "stored_name"),
        [
            ("../../etc/passwd.jpg", "passwd.jpg"),
            ("C:\\photos\\dog.jpg", "dog.jpg"),
            ("a\x1bb.jpg", "ab.jpg"),
            ("/", "picture"),
        ],
    )
    def test_a_file_name_is_reduced_to_a_base_name(self, client: Client, sent: str, stored_name: str) -> None:
        answer = client.post("/v1/jobs", data=encoded(), content_type="image/jpeg", headers={"X-Filename": sent})

        assert answer.json["input"]["filename"] == stored_name

    def test_a_repeated_image_gets_its_cached_caption_at_once(
        self, client: Client, caption: Caption, announce: Callable[..., None]
    ) -> None:
        announce(MODEL)
        first = send(client).json["id"]
        caption(first, "a red ball")

        answer = send(client)

        assert answer.status_code == 201
        assert (answer.json["cached"], answer.json["output"]["caption"]) == (True, "a red ball")
        assert answer.json["id"] != first
        assert "Retry-After" not in answer.headers

    def test_a_full_queue_refuses_jobs_with_a_retry_after(self, settings: Settings, redis: Any) -> None:
        full = create_app(settings.model_copy(update={"max_open_jobs": 1}), redis=redis).test_client()
        send(full)

        answer = send(full, numbered(3)[1])

        assert (answer.status_code, answer.json["type"]) == (503, "/problems/queue-full")
        assert int(answer.headers["Retry-After"]) > 0

    def test_a_missing_upload_store_refuses_jobs_with_a_retry_after(
        self, client: Client, settings: Settings, ledger: Ledger
    ) -> None:
        (settings.data / "uploads").rmdir()

        answer = send(client)

        assert (answer.status_code, answer.json["type"]) == (503, "/problems/uploads-unavailable")
        assert answer.headers["Retry-After"] == "5"
        assert ledger.recent() == ([], None)

    def test_a_full_disk_stores_nothing(
        self, client: Client, monkeypatch: pytest.MonkeyPatch, stored: Callable[[], list[Path]]
    ) -> None:
        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("os.fsync", full)
        monkeypatch.setattr("os.replace", full)

        answer = send(client)

        assert (answer.status_code, answer.json["type"]) == (507, "/problems/storage-full")
        assert stored() == []
        assert client.get("/v1/jobs").json["jobs"] == []

    def test_a_full_disk_is_reported_and_logged_for_any_write(
        self, client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def full(*_: object, **__: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("web.api.jobs.submit_job", full)

        answer = send(client)

        assert (answer.status_code, answer.json["type"]) == (507, "/problems/storage-full")
        assert "No space left on device" in caplog.text

    def test_an_upload_is_kept_if_the_reply_of_redis_is_lost(
        self,
        client: Client,
        ledger: Ledger,
        server: fakeredis.FakeServer,
        stored: Callable[[], list[Path]],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        create = Ledger.create

        def create_and_disconnect(self: Ledger, *args: Any, **kwargs: Any) -> None:
            create(self, *args, **kwargs)
            raise RedisConnectionError("connection lost")

        monkeypatch.setattr(Ledger, "create", create_and_disconnect)
        failed = client.post("/v1/jobs", data=encoded(), content_type="image/jpeg", headers={"Idempotency-Key": "k"})
        monkeypatch.undo()
        retried = client.post("/v1/jobs", data=encoded(), content_type="image/jpeg", headers={"Idempotency-Key": "k"})

        assert (failed.status_code, retried.status_code) == (503, 202)
        assert [path.name for path in stored()] == [retried.json["id"]]

    def test_nothing_is_stored_without_redis(
        self, client: Client, server: fakeredis.FakeServer, stored: Callable[[], list[Path]]
    ) -> None:
        server.connected = False

        answer = send(client)

        assert (answer.status_code, answer.json["type"]) == (503, "/problems/store-unavailable")
        assert stored() == []


class TestIdempotency:
    def test_an_idempotency_key_returns_the_earlier_job(self, client: Client, stored: Callable[[], list[Path]]) -> None:
        first, second = (send(client, headers={"Idempotency-Key": "k1"}).json for _ in range(2))

        assert first["id"] == second["id"]
        assert len(stored()) == 1

    def test_a_different_image_with_the_same_key_is_a_conflict(self, client: Client) -> None:
        send(client, headers={"Idempotency-Key": "k1"})

        answer = send(client, numbered(3)[1], headers={"Idempotency-Key": "k1"})

        assert (answer.status_code, answer.json["type"]) == (422, "/problems/idempotency-conflict")

    @pytest.mark.parametrize("key", ["", "k" * 256])
    def test_an_empty_or_too_long_key_is_refused(self, client: Client, key: str) -> None:
        assert send(client, headers={"Idempotency-Key": key}).status_code == 400


class TestPreferWait:
    def test_the_response_is_delayed_until_the_job_is_finished(
        self, client: Client, ledger: Ledger, caption: Caption
    ) -> None:
        def finish_job() -> None:
            while not (jobs := ledger.recent(limit=1)[0]):
                time.sleep(0.01)
            caption(jobs[0].id, "a red ball")

        threading.Thread(target=finish_job).start()
        answer = send(client, headers={"Prefer": "wait=30"})

        assert (answer.status_code, answer.json["output"]["caption"]) == (201, "a red ball")
        assert answer.headers["Preference-Applied"] == "wait=30"

    def test_the_response_is_delayed_no_longer_than_the_wait(self, client: Client) -> None:
        answer = send(client, headers={"Prefer": "wait=1"})

        assert (answer.status_code, answer.json["status"]) == (202, "queued")

    @pytest.mark.parametrize("preference", ["", "respond-async", "wait=", "wait=soon", "wait=-4"])
    def test_an_unknown_preference_is_ignored(self, client: Client, preference: str) -> None:
        answer = send(client, headers={"Prefer": preference})

        assert answer.status_code == 202
        assert "Preference-Applied" not in answer.headers


class TestShow:
    def test_a_finished_job_has_all_fields(self, client: Client, caption: Caption) -> None:
        job_id = send(client).json["id"]
        caption(job_id, "a red ball")

        job = client.get(f"/v1/jobs/{job_id}").json

        assert job["status"] == "succeeded"
        assert job["output"] == {
            "caption": "a red ball",
            "score": -0.5,
            "alternatives": [],
            "confidence": 0.3,
            "translated": None,
            "unsure": True,
        }
        assert job["model"] == {
            "name": "student_epoch6",
            "version": "sha256:1f0c",
            "demo": False,
            "instructions": False,
        }
        assert job["timings"] == {"queue_seconds": 0.1, "model_seconds": 0.2, "batch_size": 1}
        assert job["created_at"] < job["completed_at"] < job["expires_at"]
        assert job["attempts"] == 1

    def test_a_matching_etag_gets_an_empty_304(self, client: Client, caption: Caption) -> None:
        job_id = send(client).json["id"]
        etag = client.get(f"/v1/jobs/{job_id}").headers["ETag"]

        unchanged = client.get(f"/v1/jobs/{job_id}", headers={"If-None-Match": etag})
        caption(job_id, "a red ball")
        changed = client.get(f"/v1/jobs/{job_id}", headers={"If-None-Match": etag})

        assert (unchanged.status_code, unchanged.data) == (304, b"")
        assert (changed.status_code, changed.json["status"]) == (200, "succeeded")

    @pytest.mark.parametrize("path", ["", "/image"])
    def test_an_unknown_job_is_not_found(self, client: Client, path: str) -> None:
        answer = client.get(f"/v1/jobs/nothing{path}")

        assert (answer.status_code, answer.json["type"]) == (404, "/problems/job-not-found")

    def test_delete_removes_the_job_and_its_upload(self, client: Client, stored: Callable[[], list[Path]]) -> None:
        job_id = send(client).json["id"]

        deleted = client.delete(f"/v1/jobs/{job_id}")

        assert (deleted.status_code, deleted.data) == (204, b"")
        assert client.get(f"/v1/jobs/{job_id}").json["type"] == "/problems/job-gone"
        assert client.get(f"/v1/jobs/{job_id}").status_code == 410
        assert stored() == []

    def test_a_canceled_job_is_not_claimed(self, client: Client, ledger: Ledger) -> None:
        job_id = send(client).json["id"]

        assert client.post(f"/v1/jobs/{job_id}/cancel").json["status"] == "canceled"
        assert ledger.claim_next(1).claims == []

    def test_cancel_does_not_change_a_finished_job(self, client: Client, caption: Caption) -> None:
        job_id = send(client).json["id"]
        caption(job_id, "a red ball")

        assert client.post(f"/v1/jobs/{job_id}/cancel").json["status"] == "succeeded"


class TestIndex:
    def test_pages_list_all_jobs_from_newest_to_oldest(self, client: Client) -> None:
        sent = [send(client, image).json["id"] for image in numbered(5)]

        listed, cursor = [], ""
        while cursor is not None:
            page = client.get(f"/v1/jobs?limit=2{f'&cursor={cursor}' if cursor else ''}").json
            listed += [job["id"] for job in page["jobs"]]
            cursor = page["next"]

        assert listed == sent[::-1]

    def test_the_status_filters_the_list(self, client: Client, caption: Caption) -> None:
        first, second = (send(client, image).json["id"] for image in numbered(2))
        caption(first, "a red ball")

        def ids(status: str) -> list[str]:
            return [job["id"] for job in client.get(f"/v1/jobs?status={status}").json["jobs"]]

        assert (ids("succeeded"), ids("queued"), ids("failed")) == ([first], [second], [])

    @pytest.mark.parametrize("query", ["status=lost", "limit=0", "limit=201", "limit=many", "limit=²"])
    def test_an_invalid_parameter_is_refused(self, client: Client, query: str) -> None:
        answer = client.get(f"/v1/jobs?{query}")

        assert (answer.status_code, answer.json["type"]) == (400, "/problems/bad-request")

    @pytest.mark.parametrize("cursor", ["", "garbage", "null", "+", "019DDC1A-53F0-7C52-A5F0-2B8E6A9D1C33"])
    def test_an_invalid_cursor_is_refused(self, client: Client, cursor: str) -> None:
        send(client)

        answer = client.get("/v1/jobs", query_string={"cursor": cursor})

        assert (answer.status_code, answer.json["type"]) == (400, "/problems/bad-request")
        assert "`cursor` must be the `next` value of the previous page" in answer.json["detail"]


class TestImage:
    def test_the_image_is_re_encoded_upright_and_without_metadata(self, client: Client) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6  # rotated by 90 degrees
        exif[0x010E] = "secret place"
        buffer = io.BytesIO()
        drawing(size=(300, 200)).save(buffer, "JPEG", exif=exif)
        job_id = send(client, buffer.getvalue()).json["id"]

        answer = client.get(f"/v1/jobs/{job_id}/image?size=100")

        with Image.open(io.BytesIO(answer.data)) as shown:
            assert (answer.mimetype, shown.format) == ("image/jpeg", "JPEG")
            assert max(shown.size) == 100 and shown.height > shown.width
            assert not shown.getexif()
        assert b"secret place" not in answer.data

    @pytest.mark.parametrize("size", ["0", "2049", "big"])
    def test_an_invalid_size_is_refused(self, client: Client, size: str) -> None:
        job_id = send(client).json["id"]

        assert client.get(f"/v1/jobs/{job_id}/image?size={size}").status_code == 400


def test_one_failed_job_is_retried_and_the_worker_is_notified(client: Client, ledger: Ledger) -> None:
    first, second = (send(client, data).json for data in numbered(2))
    for job in (first, second):
        client.post(job["urls"]["cancel"])
    with Connection("memory://") as broker:
        broker.SimpleQueue("captiond", no_ack=True).clear()

    retried = client.post(first["urls"]["retry"])

    assert (retried.status_code, retried.json["status"]) == (200, "queued")
    assert ledger.get(second["id"]).status == "canceled"
    with Connection("memory://") as broker:
        assert len(broker.SimpleQueue("captiond", no_ack=True)) == 1
