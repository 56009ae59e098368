"""The list of the workers as JSON and as a page."""

from __future__ import annotations

import re
from importlib.metadata import version

from markupsafe import escape
from redis import Redis

from common.jobs import new_id
from common.ledger import Components, Ledger, NewJob, Worker
from common.translation import Message
from tests.support.contract import assert_valid_response
from tests.unit.web.client import MODEL, Client

WORKER = Worker(
    name="red-7",
    model=MODEL,
    host="red",
    pid=7,
    version=version("captiond"),
    device="cuda:0",
    precision="bf16",
    capacity=8,
    memory_bytes=512_000_000,
    pictures_per_second=12.34,
    jobs=3,
)

BUSY = Message("The model's server is busy.")


def rows(page: str) -> list[str]:
    """The text of the rows of the table."""
    return [" ".join(re.sub("<[^>]+>", " ", row).split()) for row in re.findall("<tr>.*?</tr>", page, re.DOTALL)]


def test_a_worker_is_listed_with_its_identity_and_measurements(client: Client, components: Components) -> None:
    components.workers.announce(WORKER)

    answer = client.get("/v1/workers")

    assert_valid_response(answer)
    [worker] = answer.json["workers"]
    expected = WORKER.model_dump() | {"alive": True}
    assert {name: worker[name] for name in expected if name not in ("heard_at", "started_at")} == {
        name: value for name, value in expected.items() if name not in ("heard_at", "started_at")
    }
    assert worker["heard_at"] == worker["started_at"] > "2026"


def test_a_worker_whose_model_is_unavailable_says_why(client: Client, components: Components) -> None:
    components.workers.announce(WORKER.model_copy(update={"unavailable": BUSY}))

    answer = client.get("/v1/workers")
    page = client.get("/workers", headers={"Accept-Language": "ru"})

    assert_valid_response(answer)
    assert answer.json["workers"][0]["unavailable"] == "The model's server is busy."
    assert "недоступна Сервер модели занят." in rows(page.text)[1]


def test_users_are_told_when_no_worker_s_model_is_available(client: Client, components: Components) -> None:
    components.workers.announce(WORKER.model_copy(update={"unavailable": BUSY}))
    answers = [client.get("/v1/models").json["notice"], client.get("/readyz/captioning").json["detail"]]
    page = client.get("/").text
    components.workers.announce(WORKER.model_copy(update={"name": "blue-1"}))

    sentence = "The model's server is busy. Pictures are accepted and wait."
    assert answers == [sentence, sentence]
    assert escape(sentence) in page
    assert client.get("/v1/models").json["notice"] is None
    assert client.get("/readyz/captioning").status_code == 200


def test_a_lost_worker_is_listed_as_such(client: Client, components: Components, redis: Redis) -> None:
    lost = components.workers.announce(WORKER)
    record = lost.model_copy(update={"heard_at": lost.heard_at - 20})
    redis.hset("workers", lost.name, record.model_dump_json())

    assert [worker["alive"] for worker in client.get("/v1/workers").json["workers"]] == [False]
    assert "20 s ago lost" in rows(client.get("/workers").text)[1]


def test_the_page_shows_each_worker(client: Client, components: Components) -> None:
    components.workers.announce(WORKER)

    row = rows(client.get("/workers").text)[1]

    assert row.startswith("red-7 0")
    assert row.endswith(f"s ago {MODEL.name} cuda:0 bf16 12.3 per second 512 MB 3 {WORKER.version}")


def test_a_worker_whose_model_is_unloaded_is_marked(client: Client, components: Components) -> None:
    components.workers.announce(WORKER.model_copy(update={"loaded": False}))

    assert f"{MODEL.name} not in memory cuda:0" in rows(client.get("/workers").text)[1]


def test_a_worker_of_another_version_is_marked(client: Client, components: Components) -> None:
    components.workers.announce(WORKER.model_copy(update={"version": "0.0.9"}))

    assert rows(client.get("/workers").text)[1].endswith(f"0.0.9 not {WORKER.version}")


def test_the_page_shows_the_waiting_jobs_of_each_lane(client: Client, ledger: Ledger, components: Components) -> None:
    batch = new_id()
    components.batches.create(batch)
    for number in range(3):
        ledger.create(new_id(), NewJob(batch=batch, idempotency_key=str(number)))
    ledger.create(new_id(), NewJob())

    page = client.get("/workers").text

    assert re.findall(r"<dd>(\d+)</dd>", page) == ["1", "3", "0", "0"]


def test_the_page_without_workers_says_so_in_russian(client: Client) -> None:
    page = client.get("/workers", headers={"Accept-Language": "ru"}).text

    assert "Ни один обработчик не запущен" in page
