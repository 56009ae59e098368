"""`/v1/jobs`: a picture is sent, followed, canceled, deleted."""

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
    """Post a picture as a form does; the answer."""
    image = (io.BytesIO(encoded() if data is None else data), "ball.jpg")
    return client.post("/v1/jobs", data={"image": image}, headers=headers)


class TestNotANumber:
    def test_a_score_of_an_earlier_version_that_is_none_breaks_neither_list_nor_page(
        self, client: Client, redis: Redis, caption: Caption
    ) -> None:
        job = send(client).json
        caption(job["id"], "a red ball")
        redis.hset(f"job:{job['id']}", "output", '{"caption": "a red ball", "score": NaN, "alternatives": []}')

        one, several = client.get(f"/v1/jobs/{job['id']}"), client.get("/v1/jobs")

        for answer in (one, several):
            assert answer.status_code == 200
            assert "NaN" not in answer.text
        assert one.json["output"]["score"] is several.json["jobs"][0]["output"]["score"] is None
        assert "a red ball" in client.get("/").text

    def test_no_answer_of_the_api_has_one(self, app: Flask) -> None:
        assert app.json.dumps({"score": float("nan"), "others": [float("inf")]}) == '{"score": null, "others": [null]}'


class TestSending:
    def test_the_answer_is_the_job_and_where_to_ask_for_it(self, client: Client) -> None:
        answer = send(client)

        job = answer.json
        assert answer.status_code == 202
        assert answer.headers["Location"] == job["urls"]["self"] == f"/v1/jobs/{job['id']}"
        assert answer.headers["Retry-After"] == "1"
        assert (job["status"], job["output"], job["error"], job["cached"]) == ("queued", None, None, False)
        assert job["input"].items() >= {"filename": "ball.jpg", "format": "JPEG", "width": 320, "height": 240}.items()
        assert job["progress"]["position"] == 0

    def test_the_picture_is_kept_as_it_came_and_the_worker_is_rung_for(
        self, client: Client, stored: Callable[[], list[Path]]
    ) -> None:
        picture = encoded()

        with Connection("memory://") as broker:
            broker.SimpleQueue("captiond", no_ack=True).clear()
        send(client, picture)

        (file,) = stored()
        assert file.read_bytes() == picture
        with Connection("memory://") as broker:
            queue = broker.SimpleQueue("captiond", no_ack=True)
            assert queue.get(block=False).payload[:2] == [[], {}]

    @pytest.mark.parametrize("mimetype", ["image/jpeg", "application/octet-stream"])
    def test_a_body_that_is_the_picture_will_do(self, client: Client, mimetype: str) -> None:
        answer = client.post("/v1/jobs", data=encoded(), content_type=mimetype, headers={"X-Filename": "ball.jpg"})

        assert (answer.status_code, answer.json["input"]["filename"]) == (202, "ball.jpg")

    @pytest.mark.parametrize(
        ("sent", "kept"),
        [
            ("../../etc/passwd.jpg", "passwd.jpg"),
            ("C:\\photos\\dog.jpg", "dog.jpg"),
            ("a\x1bb.jpg", "ab.jpg"),
            ("/", "picture"),
        ],
    )
    def test_a_name_is_only_a_name(self, client: Client, sent: str, kept: str) -> None:
        answer = client.post("/v1/jobs", data=encoded(), content_type="image/jpeg", headers={"X-Filename": sent})

        assert answer.json["input"]["filename"] == kept

    def test_the_same_picture_again_has_its_caption_at_once(
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

    def test_a_full_queue_refuses_and_says_when_to_come_back(self, settings: Settings, redis: Any) -> None:
        full = create_app(settings.model_copy(update={"max_open_jobs": 1}), redis=redis).test_client()
        send(full)

        answer = send(full, numbered(3)[1])

        assert (answer.status_code, answer.json["type"]) == (503, "/problems/queue-full")
        assert int(answer.headers["Retry-After"]) > 0

    def test_a_store_that_is_away_refuses_and_says_when_to_come_back(
        self, client: Client, settings: Settings, ledger: Ledger
    ) -> None:
        (settings.data / "uploads").rmdir()

        answer = send(client)

        assert (answer.status_code, answer.json["type"]) == (503, "/problems/uploads-unavailable")
        assert answer.headers["Retry-After"] == "5"
        assert ledger.recent() == ([], None)

    def test_a_full_disk_keeps_nothing(
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

    def test_a_full_disk_is_told_of_and_logged_wherever_it_is_met(
        self, client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def full(*_: object, **__: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("web.api.jobs.submit", full)

        answer = send(client)

        assert (answer.status_code, answer.json["type"]) == (507, "/problems/storage-full")
        assert "No space left on device" in caplog.text

    def test_a_job_store_whose_answer_is_lost_may_have_kept_the_job_and_its_picture_is_there(
        self,
        client: Client,
        ledger: Ledger,
        server: fakeredis.FakeServer,
        stored: Callable[[], list[Path]],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        create = Ledger.create

        def create_and_leave(self: Ledger, *args: Any, **kwargs: Any) -> None:
            create(self, *args, **kwargs)
            raise RedisConnectionError("gone before it answered")

        monkeypatch.setattr(Ledger, "create", create_and_leave)
        refused = client.post("/v1/jobs", data=encoded(), content_type="image/jpeg", headers={"Idempotency-Key": "k"})
        monkeypatch.undo()
        again = client.post("/v1/jobs", data=encoded(), content_type="image/jpeg", headers={"Idempotency-Key": "k"})

        assert (refused.status_code, again.status_code) == (503, 202)
        assert [path.name for path in stored()] == [again.json["id"]]

    def test_a_job_store_that_is_away_keeps_nothing(
        self, client: Client, server: fakeredis.FakeServer, stored: Callable[[], list[Path]]
    ) -> None:
        server.connected = False

        answer = send(client)

        assert (answer.status_code, answer.json["type"]) == (503, "/problems/store-unavailable")
        assert stored() == []


class TestIdempotency:
    def test_the_same_key_gives_the_same_job(self, client: Client, stored: Callable[[], list[Path]]) -> None:
        first, again = (send(client, headers={"Idempotency-Key": "k1"}).json for _ in range(2))

        assert first["id"] == again["id"]
        assert len(stored()) == 1

    def test_another_picture_under_the_key_is_a_conflict(self, client: Client) -> None:
        send(client, headers={"Idempotency-Key": "k1"})

        answer = send(client, numbered(3)[1], headers={"Idempotency-Key": "k1"})

        assert (answer.status_code, answer.json["type"]) == (422, "/problems/idempotency-conflict")

    @pytest.mark.parametrize("key", ["", "k" * 256])
    def test_a_key_has_its_length(self, client: Client, key: str) -> None:
        assert send(client, headers={"Idempotency-Key": key}).status_code == 400


class TestWaiting:
    def test_the_answer_is_held_until_the_caption_is_there(
        self, client: Client, ledger: Ledger, caption: Caption
    ) -> None:
        def work() -> None:
            while not (jobs := ledger.recent(limit=1)[0]):
                time.sleep(0.01)
            caption(jobs[0].id, "a red ball")

        threading.Thread(target=work).start()
        answer = send(client, headers={"Prefer": "wait=30"})

        assert (answer.status_code, answer.json["output"]["caption"]) == (201, "a red ball")
        assert answer.headers["Preference-Applied"] == "wait=30"

    def test_it_is_held_no_longer_than_asked(self, client: Client) -> None:
        answer = send(client, headers={"Prefer": "wait=1"})

        assert (answer.status_code, answer.json["status"]) == (202, "queued")

    @pytest.mark.parametrize("wish", ["", "respond-async", "wait=", "wait=soon", "wait=-4"])
    def test_another_wish_is_passed_over(self, client: Client, wish: str) -> None:
        answer = send(client, headers={"Prefer": wish})

        assert answer.status_code == 202
        assert "Preference-Applied" not in answer.headers


class TestFollowing:
    def test_a_done_job_has_all_there_is_to_know(self, client: Client, caption: Caption) -> None:
        job_id = send(client).json["id"]
        caption(job_id, "a red ball")

        job = client.get(f"/v1/jobs/{job_id}").json

        assert job["status"] == "succeeded"
        assert job["output"] == {"caption": "a red ball", "score": -0.5, "alternatives": []}
        assert job["model"] == {"name": "student_epoch6", "version": "sha256:1f0c", "demo": False}
        assert job["timings"] == {"queue_seconds": 0.1, "model_seconds": 0.2, "batch_size": 1}
        assert job["created_at"] < job["completed_at"] < job["expires_at"]
        assert job["attempts"] == 1

    def test_nothing_new_costs_no_body(self, client: Client, caption: Caption) -> None:
        job_id = send(client).json["id"]
        tag = client.get(f"/v1/jobs/{job_id}").headers["ETag"]

        unchanged = client.get(f"/v1/jobs/{job_id}", headers={"If-None-Match": tag})
        caption(job_id, "a red ball")
        changed = client.get(f"/v1/jobs/{job_id}", headers={"If-None-Match": tag})

        assert (unchanged.status_code, unchanged.data) == (304, b"")
        assert (changed.status_code, changed.json["status"]) == (200, "succeeded")

    @pytest.mark.parametrize("path", ["", "/image"])
    def test_an_unknown_job_is_not_found(self, client: Client, path: str) -> None:
        answer = client.get(f"/v1/jobs/nothing{path}")

        assert (answer.status_code, answer.json["type"]) == (404, "/problems/job-not-found")

    def test_a_deleted_job_is_gone_with_its_picture(self, client: Client, stored: Callable[[], list[Path]]) -> None:
        job_id = send(client).json["id"]

        deleted = client.delete(f"/v1/jobs/{job_id}")

        assert (deleted.status_code, deleted.data) == (204, b"")
        assert client.get(f"/v1/jobs/{job_id}").json["type"] == "/problems/job-gone"
        assert client.get(f"/v1/jobs/{job_id}").status_code == 410
        assert stored() == []

    def test_a_canceled_job_is_not_captioned(self, client: Client, ledger: Ledger) -> None:
        job_id = send(client).json["id"]

        assert client.post(f"/v1/jobs/{job_id}/cancel").json["status"] == "canceled"
        assert ledger.claim_next(1).claims == []

    def test_a_done_job_stays_as_it_is_when_it_is_canceled(self, client: Client, caption: Caption) -> None:
        job_id = send(client).json["id"]
        caption(job_id, "a red ball")

        assert client.post(f"/v1/jobs/{job_id}/cancel").json["status"] == "succeeded"


class TestListing:
    def test_pages_lead_from_the_newest_to_the_oldest(self, client: Client) -> None:
        sent = [send(client, picture).json["id"] for picture in numbered(5)]

        found, cursor = [], ""
        while cursor is not None:
            page = client.get(f"/v1/jobs?limit=2{f'&cursor={cursor}' if cursor else ''}").json
            found += [job["id"] for job in page["jobs"]]
            cursor = page["next"]

        assert found == sent[::-1]

    def test_a_status_chooses(self, client: Client, caption: Caption) -> None:
        first, second = (send(client, picture).json["id"] for picture in numbered(2))
        caption(first, "a red ball")

        def ids(status: str) -> list[str]:
            return [job["id"] for job in client.get(f"/v1/jobs?status={status}").json["jobs"]]

        assert (ids("succeeded"), ids("queued"), ids("failed")) == ([first], [second], [])

    @pytest.mark.parametrize("query", ["status=lost", "limit=0", "limit=201", "limit=many", "limit=²"])
    def test_nonsense_is_refused(self, client: Client, query: str) -> None:
        answer = client.get(f"/v1/jobs?{query}")

        assert (answer.status_code, answer.json["type"]) == (400, "/problems/bad-request")

    @pytest.mark.parametrize("cursor", ["", "garbage", "null", "+", "019DDC1A-53F0-7C52-A5F0-2B8E6A9D1C33"])
    def test_a_cursor_that_no_page_gave_is_refused(self, client: Client, cursor: str) -> None:
        send(client)

        answer = client.get("/v1/jobs", query_string={"cursor": cursor})

        assert (answer.status_code, answer.json["type"]) == (400, "/problems/bad-request")
        assert "`cursor` takes the `next` of the page before" in answer.json["detail"]


class TestImage:
    def test_it_is_encoded_anew_upright_and_without_metadata(self, client: Client) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6  # on its side
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
    def test_its_size_has_limits(self, client: Client, size: str) -> None:
        job_id = send(client).json["id"]

        assert client.get(f"/v1/jobs/{job_id}/image?size={size}").status_code == 400
