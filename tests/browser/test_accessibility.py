"""axe finds no violation in any state of the pages, in both colour schemes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.support.images import numbered
from tests.support.page import CAPTION_TIMEOUT, caption_files, choose_files, edit, files
from tests.support.service import Service


@pytest.fixture(params=["light", "dark"])
def page(browser: Browser, service: Service, request: pytest.FixtureRequest) -> Iterator[Page]:
    context = browser.new_context(color_scheme=request.param, reduced_motion="reduce")
    page = context.new_page()
    page.goto(service.url)
    yield page
    context.close()


def show_start(page: Page) -> None:
    expect(page.get_by_role("button", name="Choose a folder")).to_be_visible()


def show_sending(page: Page) -> None:
    page.route(re.compile("/items$"), lambda route: None)
    choose_files(page, files(numbered(5)))
    expect(page.locator("#cards progress").first).to_be_visible()


def show_captions(page: Page) -> None:
    caption_files(page, 3)
    edit(page, 0, "edited")


def show_failed(page: Page) -> None:
    choose_files(page, [{"name": "diary.jpg", "mimeType": "image/jpeg", "buffer": b"dear diary"}])
    expect(page.locator("#cards .error")).to_be_visible(timeout=CAPTION_TIMEOUT)


def show_nothing(page: Page) -> None:
    caption_files(page, 1)
    page.get_by_role("searchbox").fill("submarine")
    expect(page.locator("#nothing")).to_be_visible()


def show_editor(page: Page) -> None:
    show_captions(page)
    page.locator("#cards").get_by_role("button", name="Edit").first.click()
    expect(page.locator("#editor")).to_be_visible()


def show_replace(page: Page) -> None:
    show_captions(page)
    page.get_by_role("button", name="Find and replace").click()
    page.get_by_label("Find", exact=True).fill("edited")
    page.get_by_label("Replace with").fill("written")
    expect(page.locator("#replace-preview del")).to_be_visible()


def show_download(page: Page) -> None:
    caption_files(page, 1)
    page.get_by_role("button", name="Download").click()


def show_deletion(page: Page) -> None:
    caption_files(page, 1)
    page.get_by_role("button", name="Delete", exact=True).click()


def show_offline(page: Page) -> None:
    caption_files(page, 1)
    page.context.set_offline(True)
    expect(page.locator("#offline")).to_be_visible()


def show_job(page: Page) -> None:
    caption_files(page, 1)
    page.goto(page.locator("#cards .thumb").get_attribute("href") or "")
    expect(page.get_by_role("button", name="Copy the link")).to_be_visible()


def show_workers(page: Page) -> None:
    page.get_by_role("link", name="Workers").click()
    expect(page.get_by_role("row")).to_have_count(2)


def show_error(page: Page) -> None:
    page.goto(f"{page.url}batches/01a21c64-3c6a-76a9-b109-06f34cc28057")
    expect(page.get_by_role("alert")).to_be_visible()


STATES = [
    show_start,
    show_sending,
    show_captions,
    show_failed,
    show_nothing,
    show_editor,
    show_replace,
    show_download,
    show_deletion,
    show_offline,
    show_job,
    show_workers,
    show_error,
]


@pytest.mark.parametrize("show", STATES, ids=lambda show: show.__name__.removeprefix("show_"))
def test_axe_finds_no_violation(page: Page, show: Callable[[Page], None]) -> None:
    show(page)

    results = Axe().run(page)

    assert results.violations_count == 0, results.generate_report()
