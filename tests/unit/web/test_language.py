"""The language of pages and of problems in the API."""

from __future__ import annotations

import json
import re

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
