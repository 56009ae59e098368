"""The language of pages and of problems in the API."""

from __future__ import annotations

import io
import json
import re
from typing import Any

from redis import Redis

from common import problems, strict_json
from common.ingest import upload_too_large
from common.jobs import Job, ModelInfo, new_id
from common.ledger import Components, Ledger, NewJob, keys
from tests.support.images import encoded
from tests.unit.web.client import Client

RUSSIAN = {"Accept-Language": "ru-RU,ru;q=0.9,en;q=0.8"}


def test_a_page_is_in_the_language_of_the_browser(client: Client) -> None:
    page = client.get("/", headers=RUSSIAN)

    assert '<html lang="ru">' in page.text
    assert "Перейти к содержимому" in page.text


def test_a_page_is_in_english_for_other_languages(client: Client) -> None:
    assert '<html lang="en">' in client.get("/", headers={"Accept-Language": "fr"}).text
    assert '<html lang="en">' in client.get("/").text


def test_the_chosen_language_is_kept_and_wins_over_the_browser(client: Client) -> None:
    chosen = client.post("/language", data={"language": "en", "page": "/docs"}, headers=RUSSIAN)

    assert (chosen.status_code, chosen.location) == (303, "/docs")
    assert '<html lang="en">' in client.get("/", headers=RUSSIAN).text


def test_an_unknown_language_is_refused(client: Client) -> None:
    chosen = client.post("/language", data={"language": "xx"})

    assert (chosen.status_code, chosen.json["type"]) == (400, "/problems/bad-request")
    assert "en, ru" in chosen.json["detail"]
    assert "Set-Cookie" not in chosen.headers


def test_the_choice_leads_to_no_other_site(client: Client) -> None:
    for page in ("https://evil.example/", "//evil.example/docs", "/\\evil.example", "/no-such-page", "", "http://["):
        assert client.post("/language", data={"language": "ru", "page": page}).location == "/", page


def test_caches_are_told_what_the_language_depends_on(client: Client) -> None:
    page = client.get("/", headers=RUSSIAN)

    assert page.headers["Content-Language"] == "ru"
    assert {"Accept-Language", "Cookie"} <= page.vary.as_set(preserve_casing=True)


def test_a_response_that_has_no_language_names_none(client: Client) -> None:
    with client.get("/static/translate.js", headers=RUSSIAN) as script:
        assert "Content-Language" not in script.headers
        assert "Accept-Language" not in script.headers.get("Vary", "")


def test_the_api_answers_problems_in_russian(client: Client) -> None:
    english = client.get("/v1/jobs/none")
    russian = client.get("/v1/jobs/none", headers=RUSSIAN)

    assert english.json["type"] == russian.json["type"] == "/problems/job-not-found"
    assert english.json["title"] == "No such job"
    assert russian.json["title"] == "Такого задания нет"
    assert (english.headers["Content-Language"], russian.headers["Content-Language"]) == ("en", "ru")


def test_the_page_contains_the_sentences_of_its_scripts_as_data(client: Client) -> None:
    page = client.get("/", headers=RUSSIAN).text
    data = re.search(r'<script type="application/json" id="translations">(.*?)</script>', page)

    assert data is not None
    assert json.loads(data[1])["The service cannot be reached"] == ["Сервис недоступен"]
    assert "Skip to content" not in data[1]
    assert "translations" not in client.get("/").text


def failed_job(ledger: Ledger) -> Job:
    return ledger.create(
        new_id(),
        NewJob(error=upload_too_large(20 * 2**20)),
    )


class TestFailedJobs:
    def test_a_stored_error_is_shown_in_the_language_of_each_reader(self, client: Client, ledger: Ledger) -> None:
        job = failed_job(ledger)

        english = client.get(f"/v1/jobs/{job.id}").json["error"]
        russian = client.get(f"/v1/jobs/{job.id}", headers=RUSSIAN)

        assert english["detail"].startswith("The file is larger than the limit of 20 MB.")
        assert russian.json["error"] == {
            "type": "/problems/upload-too-large",
            "title": "Файл слишком большой",
            "detail": "Файл больше допустимых 20 МБ. Уменьшите изображение, например сохраните его в JPEG, и отправьте "
            "снова.",
        }
        assert russian.headers["Content-Language"] == "ru"
        assert "Файл больше допустимых 20 МБ." in client.get(f"/jobs/{job.id}", headers=RUSSIAN).text

    def test_the_etag_of_a_failed_job_differs_by_language(self, client: Client, ledger: Ledger) -> None:
        path = f"/v1/jobs/{failed_job(ledger).id}"
        english = client.get(path).headers["ETag"]

        assert client.get(path, headers={"If-None-Match": english}).status_code == 304
        assert client.get(path, headers={"If-None-Match": english, **RUSSIAN}).status_code == 200

    def test_the_error_of_an_earlier_version_is_shown_as_it_was_stored(
        self, client: Client, ledger: Ledger, redis: Redis
    ) -> None:
        job = failed_job(ledger)
        stored = {"type": "/problems/empty-upload", "title": "The file is empty", "detail": "It has {no} content."}
        redis.hset(keys.job(job.id), "error", strict_json.dumps(stored))

        error = client.get(f"/v1/jobs/{job.id}", headers=RUSSIAN).json["error"]

        assert (error["title"], error["detail"]) == ("Файл пуст", "It has {no} content.")

    def test_the_results_of_a_batch_are_in_the_language_of_the_request(self, client: Client) -> None:
        form = {"images": [(io.BytesIO(b""), "a.jpg"), (io.BytesIO(encoded()), "b.jpg")]}
        batch = client.post("/v1/batches", data=form).json

        results = client.get(batch["urls"]["results"], headers=RUSSIAN)

        assert json.loads(results.text.splitlines()[0])["error"]["title"] == "Файл пуст"
        assert results.headers["Content-Language"] == "ru"


def test_the_frame_of_the_docs_page_is_translated_and_its_reference_is_marked_as_english(client: Client) -> None:
    page = client.get("/docs", headers=RUSSIAN).text

    assert "<h3>Запрос</h3>" in page and "(в пути)" in page
    assert "Описания — на английском языке." in page
    assert '<span lang="en">' in page


def test_a_notice_about_the_model_is_in_the_language_of_the_request(client: Client, announce: Any) -> None:
    announce(ModelInfo(name="demo", version="sha256:2", demo=True))

    assert client.get("/v1/models").json["notice"].startswith("A small demo model")
    assert client.get("/v1/models", headers=RUSSIAN).json["notice"].startswith("Подписи составляет")
    assert "Подписи составляет" in client.get("/", headers=RUSSIAN).text


class TestBatches:
    def test_the_reason_of_a_canceled_batch_is_in_the_language_of_each_reader(self, client: Client) -> None:
        form = {"images": [(io.BytesIO(encoded()), "a.jpg")]}
        batch = client.post("/v1/batches", data=form).json
        client.post(batch["urls"]["cancel"])

        english, russian = (
            client.get(batch["urls"]["self"], headers=headers).json["canceled_reason"] for headers in ({}, RUSSIAN)
        )

        assert english == "The batch was canceled by a request."
        assert russian == "Пакет отменён по запросу."

    def test_the_error_of_an_archive_is_in_the_language_of_each_reader(
        self, client: Client, components: Components
    ) -> None:
        batch = client.post("/v1/batches", data={"archive": (io.BytesIO(b"no archive"), "a.zip")}).json
        claim = components.archives.claim()
        assert claim
        detail = "The file is not a ZIP archive, or its end is missing. Make the archive again and send it."
        components.archives.finish(claim, problems.BAD_ARCHIVE(detail))

        english, russian = (
            client.get(batch["urls"]["self"], headers=headers).json["archive"]["error"] for headers in ({}, RUSSIAN)
        )

        assert english["detail"] == detail
        assert russian["type"] == english["type"] == "/problems/bad-archive"
        assert russian["detail"] != english["detail"] and russian["title"] != english["title"]
