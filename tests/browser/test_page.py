"""The start page in Chromium, against a running service."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Page, Request, Route, expect

from tests.support.images import encoded, numbered
from tests.support.page import CAPTION_TIMEOUT, PICTURE, SENTENCE, caption_files, choose_files, files
from tests.support.service import Service

#: Bytes of a page with all that it loads, uncompressed.
MAX_SIZE = 60_000


def test_a_chosen_file_shows_its_progress_and_then_its_caption(page: Page) -> None:
    held: list[Route] = []
    page.route("**/items", lambda route: held.append(route))
    choose_files(page, files(numbered(23)[1:2]))

    card = page.locator("#cards .card")
    expect(card.get_by_text("Sending")).to_be_visible()
    expect(page.locator("#progress-text")).to_contain_text("0 of 1 sent")
    for route in held:
        route.continue_()
    expect(card.locator(".caption")).to_have_text(SENTENCE, timeout=CAPTION_TIMEOUT)
    expect(page).to_have_url(re.compile("/batches/"))
    expect(page.locator("#announcer")).to_contain_text("1 of 1 done")


def test_a_file_chosen_before_the_scripts_load_is_captioned(page: Page, service: Service) -> None:
    held: list[Route] = []
    page.route("**/main.js*", lambda route: held.append(route))
    with page.expect_request("**/main.js*"):
        page.goto(service.url, wait_until="commit")
    choose_files(page, files(numbered(24)[3:4]))
    for route in held:
        route.continue_()

    expect(page.locator("#cards .caption")).to_have_text(SENTENCE, timeout=CAPTION_TIMEOUT)


def test_a_pasted_picture_is_captioned(page: Page) -> None:
    page.evaluate(
        """(bytes) => {
            const clipboardData = new DataTransfer();
            clipboardData.items.add(new File([new Uint8Array(bytes)], "pasted.jpg", {type: "image/jpeg"}));
            dispatchEvent(new ClipboardEvent("paste", {clipboardData}));
        }""",
        list(numbered(11)[5]),
    )

    card = page.locator("#cards .card", has_text="pasted.jpg")
    expect(card.locator(".caption")).to_be_visible(timeout=CAPTION_TIMEOUT)


def test_a_problem_with_the_batch_is_shown(page: Page) -> None:
    problem = '{"title": "The queue is full", "detail": "Send it again in a minute."}'
    page.route("**/v1/batches", lambda route: route.fulfill(status=503, body=problem))

    choose_files(page, files([PICTURE]))

    expect(page.get_by_role("alert")).to_have_text("The queue is full. Send it again in a minute.")


def test_a_reload_keeps_the_pictures(page: Page) -> None:
    captions = caption_files(page, 3)

    page.reload()

    expect(page.locator("#cards .caption")).to_have_text(captions)


def test_the_history_lists_the_batch_and_its_page_the_pictures(page: Page, service: Service) -> None:
    choose_files(page, files(numbered(2), "in the history"))
    expect(page.locator("#cards .caption")).to_have_count(2, timeout=CAPTION_TIMEOUT)

    page.get_by_role("link", name="All batches").click()
    page.locator(".batch", has_text="in the history 0.jpg and 1 more").first.click()

    expect(page.locator("#cards .caption")).to_have_count(2)


def test_a_picture_that_was_sent_alone_is_in_the_history(page: Page, service: Service) -> None:
    service.settled(service.post_image(numbered(29)[13])[1]["id"])

    page.reload()

    expect(page.locator("#start .card .caption").first).to_have_text(SENTENCE)


def test_the_notice_about_the_demo_model_speaks_to_the_visitor(page: Page) -> None:
    expect(page.locator("#notice")).to_contain_text("demo model")
    expect(page.locator("#notice")).not_to_contain_text(".pt")


def test_a_click_opens_another_file_input(page: Page) -> None:
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose a folder").click()

    assert chooser.value.element.get_attribute("id") == "folder"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390])
def test_a_phone_needs_no_horizontal_scrolling(browser: Browser, service: Service, scheme: str, width: int) -> None:
    context = browser.new_context(
        viewport={"width": width, "height": 740},
        color_scheme=scheme,  # type: ignore[arg-type]
        has_touch=True,
        is_mobile=True,
    )
    page = context.new_page()
    page.goto(service.url)
    expect(page.get_by_role("button", name="Take a photo")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == width
    caption_files(page, 2)

    assert page.evaluate("document.documentElement.scrollWidth") == width
    context.close()


def test_the_pages_work_without_javascript(browser: Browser, service: Service) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(service.url)
    choose_files(page, files(numbered(9)[4:6]))
    page.get_by_role("button", name="Caption").click()

    expect(page.locator(".caption")).to_have_count(2, timeout=CAPTION_TIMEOUT)
    assert not page.get_by_role("button", name="Find and replace").is_visible()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
        page.get_by_role("link", name="Table").click()
    assert download.value.suggested_filename.endswith(".csv")
    page.keyboard.press("Escape")
    page.locator(".thumb").first.click()
    expect(page.locator("h1.caption")).to_have_text(SENTENCE)
    context.close()


def test_each_page_with_all_that_it_loads_is_small(browser: Browser, page: Page, service: Service) -> None:
    choose_files(page, files([encoded()]))
    expect(page.locator("#cards .caption")).to_be_visible(timeout=CAPTION_TIMEOUT)
    batch, job = page.url, page.locator("#cards .thumb").get_attribute("href")
    assert job

    for url in (batch, job, service.url):
        # With an empty cache. The browser knows that the batch is open, and may have files for it.
        state = page.context.storage_state() if url == batch else None
        fresh = browser.new_context(storage_state=state).new_page()
        requests = finished_requests(fresh)
        fresh.goto(url, wait_until="networkidle")
        loaded = {request.url: body_size(request) for request in requests if "/v1/" not in request.url}
        fresh.context.close()

        assert any(url.endswith(".js") for url in loaded)
        assert sum(loaded.values()) < MAX_SIZE, loaded


def finished_requests(page: Page) -> list[Request]:
    """A list to which the requests of `page` are added when they have finished."""
    requests: list[Request] = []
    page.on("requestfinished", lambda request: requests.append(request))
    return requests


def body_size(request: Request) -> int:
    response = request.response()
    assert response
    return len(response.body())
