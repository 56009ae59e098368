"""Label Studio gets captions of its tasks as predictions, and never waits long for many."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from redis import Redis

from tests.support.images import numbered
from tests.unit.web.client import MODEL, Client
from tests.unit.web.compat.label_studio.requests import CONFIG, predict, task
from tests.unit.web.compat.requests import in_base64
from web.compat.pictures import Picture, read_pictures
from web.services import Services

#: The test model as Label Studio shows it.
VERSION = "student_epoch6 1f0c"


def data_url(image: bytes | None = None) -> str:
    return f"data:image/jpeg;base64,{in_base64(image)}"


@pytest.fixture(autouse=True)
def model(announce: Callable[..., None]) -> None:
    announce(MODEL)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The references to pictures that were read."""
    references: list[object] = []

    def record(services: Services, given: list[object]) -> list[Picture]:
        references.extend(given)
        return read_pictures(services, given)

    monkeypatch.setattr("web.compat.label_studio.read_pictures", record)
    return references


class TestConnecting:
    def test_the_backend_is_up(self, client: Client) -> None:
        assert client.get("/label-studio/health").json == {"status": "UP"}

    def test_it_names_its_model(self, client: Client) -> None:
        answer = client.post("/label-studio/setup", json={"project": "1.17", "schema": CONFIG, "hostname": "http://ls"})

        assert answer.json == {"model_version": VERSION}

    def test_a_project_without_a_text_area_is_refused_in_the_status_line(self, client: Client) -> None:
        answer = client.post("/label-studio/setup", json={"schema": "<View><Text name='t' value='$t'/></View>"})

        assert answer.status == "400 The labelling configuration needs an Image, and a TextArea for it."

    def test_without_a_worker_it_names_the_model_that_ran_before(self, client: Client) -> None:
        client.application.extensions["captiond"].workers.leave("host-1")

        assert client.post("/label-studio/setup", json={"schema": CONFIG}).json == {"model_version": VERSION}

    def test_it_is_not_ready_before_the_first_worker(self, client: Client, redis: Redis) -> None:
        redis.delete("workers", "models")

        assert client.post("/label-studio/setup", json={"schema": CONFIG}).status_code == 503


class TestPredictions:
    @pytest.mark.usefixtures("worker")
    def test_a_caption_is_a_prediction_with_its_confidence(self, client: Client) -> None:
        answer = predict(client, task(7, data_url()))

        result = {"from_name": "caption", "to_name": "photo", "type": "textarea", "value": {"text": ["a red ball"]}}
        prediction = {"model_version": VERSION, "score": 0.3, "result": [result]}
        assert answer.json == {"results": [prediction], "model_version": VERSION}

    @pytest.mark.usefixtures("no_wait")
    def test_a_task_whose_caption_is_not_ready_gets_it_the_next_time(
        self, client: Client, caption: Callable[[str, str], None]
    ) -> None:
        tasks = [task(number, data_url(image)) for number, image in enumerate(numbered(2))]
        assert predict(client, tasks[0]).json["results"] == [[]]
        (job,) = client.get("/v1/jobs").json["jobs"]
        caption(job["id"], "a red ball")

        first, second = predict(client, *tasks).json["results"]

        assert first["result"][0]["value"] == {"text": ["a red ball"]}
        assert second == []

    @pytest.mark.usefixtures("worker")
    def test_a_task_with_a_broken_picture_does_not_keep_others_from_their_captions(
        self, client: Client, caplog: pytest.LogCaptureFixture
    ) -> None:
        answer = predict(client, task(1, "data:image/jpeg;base64,AAAA"), task(2, data_url()), {"id": 3, "data": {}})

        assert [bool(result) for result in answer.json["results"]] == [False, True, False]
        assert "2 of 3 tasks of Label Studio have no prediction: The file is not a picture" in caplog.text

    def test_a_problem_of_all_tasks_is_the_answer(self, client: Client) -> None:
        answer = predict(client, task(1, "https://example.com/a.jpg"), task(2, "https://example.com/b.jpg"))

        assert answer.status.startswith("403 This service does not download pictures from URLs.")
        assert answer.json["error"].startswith("This service does not download pictures from URLs.")

    def test_a_name_of_the_request_cannot_add_a_header(self, client: Client) -> None:
        config = CONFIG.replace("$image", "$a&#10;X-Header: é&#1078;")

        answer = predict(client, task(1, data_url()), config=config)

        assert answer.status == "400 A task has no `a X-Header: é?` in its data, or no id."
        assert "X-Header" not in answer.headers

    def test_a_full_queue_ends_the_submission(
        self, client: Client, monkeypatch: pytest.MonkeyPatch, read: list[object]
    ) -> None:
        monkeypatch.setattr("web.compat.captioning.WAIT_SECONDS", 1)
        monkeypatch.setitem(client.application.extensions["captiond"].settings.__dict__, "max_open_jobs", 1)

        answer = predict(client, *(task(number, data_url(image)) for number, image in enumerate(numbered(4))))

        assert answer.json["results"] == [[], [], [], []]
        assert len(client.get("/v1/jobs").json["jobs"]) == 1
        assert len(read) == 2

    @pytest.mark.usefixtures("no_wait")
    def test_no_picture_is_read_when_the_time_is_up_but_each_request_submits_one(
        self, client: Client, read: list[object]
    ) -> None:
        answer = predict(client, *(task(number, data_url(image)) for number, image in enumerate(numbered(3))))

        assert answer.json["results"] == [[], [], []]
        assert len(client.get("/v1/jobs").json["jobs"]) == len(read) == 1

    @pytest.mark.parametrize("tasks", ["tasks", {"id": 1}])
    def test_tasks_must_be_a_list(self, client: Client, tasks: object) -> None:
        answer = client.post("/label-studio/predict", json={"label_config": CONFIG, "tasks": tasks})

        assert (answer.status_code, answer.json) == (400, {"error": "`tasks` must be a list."})


class TestEvents:
    def test_events_need_no_key_and_are_ignored(self, client: Client) -> None:
        assert client.post("/label-studio/webhook", json={"action": "ANNOTATION_CREATED"}).json == {}
        assert client.post("/label-studio/webhook", json=["event"]).json == {}

    def test_a_request_to_train_is_refused(self, client: Client) -> None:
        answer = client.post("/label-studio/webhook", json={"action": "START_TRAINING"})

        assert answer.status == "400 captiond cannot be trained from Label Studio."
