"""The page in Russian in Chromium: its scripts' sentences, their plurals, and the choice of the language."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from common.translation import LANGUAGES, ngettext, script_sentences
from tests.support.service import Service

STATUS = ("{count} picture before this one", "{count} pictures before this one")


@pytest.fixture
def page(browser: Browser, service: Service) -> Iterator[Page]:
    """The start page in a browser in Russian. Fails on errors in the browser's console."""
    page = browser.new_context(locale="ru-RU").new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.goto(service.url)
    yield page
    page.context.close()
    assert errors == []


def test_the_scripts_speak_the_language_of_the_page(page: Page) -> None:
    translate = "async (text) => (await import('./static/translate.js')).t(text, {status: 502})"

    text = "The server answered with status {status}. Try again in a moment."

    assert page.evaluate(translate, text) == "Сервер ответил кодом 502. Повторите попытку чуть позже."
    assert page.evaluate(translate, "Not a sentence of the catalogue.") == "Not a sentence of the catalogue."


def test_the_plurals_of_the_scripts_are_those_of_python(page: Page) -> None:
    forms = page.evaluate(
        """async ([singular, plural]) => {
            const { tn } = await import('./static/translate.js');
            return Array.from({ length: 131 }, (_, count) => tn(singular, plural, count));
        }""",
        list(STATUS),
    )

    assert forms == [ngettext(*STATUS, count).translated("ru") for count in range(131)]


def test_every_sentence_of_the_scripts_is_in_the_page(page: Page) -> None:
    assert page.evaluate("JSON.parse(document.getElementById('translations').textContent)") == script_sentences("ru")


def test_the_language_is_switched_and_kept(page: Page, service: Service) -> None:
    expect(page.locator("html")).to_have_attribute("lang", "ru")

    page.get_by_role("button", name=LANGUAGES["en"]).click()
    expect(page.locator("html")).to_have_attribute("lang", "en")
    page.goto(f"{service.url}/docs")
    expect(page.get_by_role("heading", name="The API")).to_be_visible()

    page.get_by_role("button", name=LANGUAGES["ru"]).click()
    expect(page.locator("html")).to_have_attribute("lang", "ru")
    assert page.url.endswith("/docs")
