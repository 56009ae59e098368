"""Pictures that Label Studio holds are read with the operator's token, which goes nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis

from common import strict_json
from common.settings import Settings
from tests.support.images import encoded
from tests.support.receiver import Receiver, running_receiver, with_status
from tests.unit.web.client import MODEL, Client
from tests.unit.web.compat.label_studio.requests import predict, task
from web import create_app

LEGACY, PERSONAL = "0123456789abcdef", "header.payload.signature"
PICTURE = with_status(200, encoded())


@pytest.fixture
def label_studio() -> Iterator[Receiver]:
    with running_receiver(PICTURE) as running:
        yield running


@pytest.fixture
def connect(tmp_path: Path, redis: Redis, label_studio: Receiver) -> Callable[..., Client]:
    """Returns a client of a service that has a token for Label Studio."""

    def create(token: str = LEGACY, **settings: object) -> Client:
        url = {"label_studio_url": label_studio.url("/ls/"), "label_studio_token": token}
        every = Settings(data=tmp_path, broker_url="memory://", compat="label-studio", **{**url, **settings})  # type: ignore[arg-type]
        return create_app(every, redis=redis).test_client()

    return create


@pytest.fixture(autouse=True)
def model(announce: Callable[..., None]) -> None:
    announce(MODEL)


@pytest.mark.usefixtures("no_wait")
class TestReading:
    def test_an_uploaded_picture_is_read_with_the_token(
        self, connect: Callable[..., Client], label_studio: Receiver
    ) -> None:
        answer = predict(connect(), task(1, "/data/upload/1/my photo%20é.jpg"))

        assert answer.json["results"] == [[]]  # it was submitted
        (request,) = label_studio.requests
        assert request.target == "/ls/data/upload/1/my%20photo%20%C3%A9.jpg"
        assert request.headers["Authorization"] == f"Token {LEGACY}"

    def test_a_personal_access_token_is_exchanged_once_for_all_tasks(
        self, connect: Callable[..., Client], label_studio: Receiver
    ) -> None:
        label_studio.responders.insert(0, with_status(200, b'{"access": "short-lived"}'))

        predict(connect(PERSONAL), task(1, "/data/upload/1/a.jpg"), task(2, "/data/upload/1/a.jpg"))

        exchange, *pictures = label_studio.requests
        assert (exchange.target, exchange.body) == (
            "/ls/api/token/refresh/",
            strict_json.dumps({"refresh": PERSONAL}).encode(),
        )
        assert {picture.headers["Authorization"] for picture in pictures} == {"Bearer short-lived"}

    def test_a_picture_of_a_cloud_storage_is_read_without_the_token(
        self, connect: Callable[..., Client], label_studio: Receiver
    ) -> None:
        with running_receiver(PICTURE) as storage:
            label_studio.responders.insert(0, with_status(303, Location=storage.url("/signed")))

            answer = predict(connect(allow_local_urls=True), task(5, "s3://photos/a b.jpg"))

        assert answer.json["results"] == [[]]
        assert label_studio.requests[0].target == "/ls/tasks/5/presign/?fileuri=czM6Ly9waG90b3MvYSBiLmpwZw%3D%3D"
        assert storage.requests[0].headers["Authorization"] is None

    def test_a_redirect_into_the_operator_s_network_is_not_followed(
        self, connect: Callable[..., Client], label_studio: Receiver
    ) -> None:
        label_studio.responders.insert(0, with_status(303, Location=label_studio.url("/secret")))

        answer = predict(connect(), task(5, "s3://photos/a.jpg"))

        assert answer.status == "422 Label Studio did not send the picture. The server's log says why."
        assert len(label_studio.requests) == 1


class TestFailures:
    def test_other_paths_of_label_studio_are_not_read(
        self, connect: Callable[..., Client], label_studio: Receiver
    ) -> None:
        assert predict(connect(), task(1, "/api/users")).status_code == 400
        assert label_studio.requests == []

    @pytest.mark.parametrize("path", ["/data/../api/users", "/data/upload/%2e%2E/%2e./api/users", "/storage-data/..?a"])
    def test_a_path_may_not_leave_the_folders_of_pictures(
        self, connect: Callable[..., Client], label_studio: Receiver, path: str
    ) -> None:
        answer = predict(connect(), task(1, path))

        assert (answer.status_code, answer.json["error"]) == (400, "The path of a picture must not have `..`.")
        assert label_studio.requests == []

    def test_a_refused_token_is_named(self, connect: Callable[..., Client], label_studio: Receiver) -> None:
        label_studio.responders[:] = [with_status(401)]

        answer = predict(connect(), task(1, "/data/upload/1/photo.jpg"))

        assert answer.status == (
            "422 Label Studio answered with status 401 and no picture. Check CAPTIOND_LABEL_STUDIO_TOKEN."
        )

    def test_a_refused_personal_token_is_in_the_log(
        self, connect: Callable[..., Client], label_studio: Receiver, caplog: pytest.LogCaptureFixture
    ) -> None:
        label_studio.responders[:] = [with_status(401, b'{"detail": "Token is invalid"}')]

        assert predict(connect(PERSONAL), task(1, "/data/upload/1/photo.jpg")).status_code == 422
        assert "it refused the access token with status 401" in caplog.text

    def test_without_a_token_the_settings_are_named(self, connect: Callable[..., Client]) -> None:
        answer = predict(connect(token=""), task(1, "/data/upload/1/photo.jpg"))

        assert answer.status_code == 400
        assert "CAPTIOND_LABEL_STUDIO_TOKEN" in answer.json["error"]

    def test_a_picture_may_not_be_larger_than_an_upload(self, connect: Callable[..., Client]) -> None:
        answer = predict(connect(max_upload_bytes=100), task(1, "/data/upload/1/photo.jpg"))

        assert answer.status_code == 413
