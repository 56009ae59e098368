"""The start page in Chromium, against a running service."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, Route, expect, sync_playwright

from tests.support.browser import launch
from tests.support.images import encoded, numbered
from tests.support.service import Service

#: Milliseconds within which a busy machine must caption.
CAPTION_TIMEOUT = 60_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = launch(playwright)
        if browser is None:
            assert not os.environ.get("CI"), "CI needs a browser: script/test installs Chromium."
            pytest.skip("no Chromium on this machine, and script/test could not install one")
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, service: Service) -> Iterator[Page]:
    """The start page. Fails on errors in the browser's console, other than 4xx responses."""
    context = browser.new_context()
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.goto(service.url)
    yield page
    context.close()
    assert [error for error in errors if "status of 4" not in error] == []


def files(images: list[bytes]) -> list[dict[str, object]]:
    return [
        {"name": f"picture {number}.jpg", "mimeType": "image/jpeg", "buffer": data}
        for number, data in enumerate(images)
    ]


def choose_files(page: Page, chosen: list[dict[str, object]]) -> None:
    page.set_input_files("#images", chosen)  # type: ignore[arg-type]


def test_a_chosen_file_shows_a_spinner_and_then_its_caption(page: Page) -> None:
    held: list[Route] = []
    page.route(re.compile(r"/v1/jobs/[^/]+$"), lambda route: held.append(route))
    choose_files(page, files(numbered(23)[1:2]))

    card = page.locator("#cards .card")
    expect(card.locator(".spinner")).to_be_visible(timeout=CAPTION_TIMEOUT)
    page.unroute_all(behavior="ignoreErrors")
    for route in held:
        route.continue_()
    expect(card.locator(".caption")).to_have_text(re.compile(r"\w+ \w+"), timeout=CAPTION_TIMEOUT)
    expect(page.locator("#announcer")).to_contain_text("picture 0.jpg", timeout=CAPTION_TIMEOUT)


def test_a_file_chosen_before_the_scripts_load_is_captioned(page: Page, service: Service) -> None:
    held: list[Route] = []
    page.route("**/main.js*", lambda route: held.append(route))
    with page.expect_request("**/main.js*"):
        page.goto(service.url, wait_until="commit")
    choose_files(page, files(numbered(24)[3:4]))
    for route in held:
        route.continue_()

    expect(page.locator("#cards .caption")).to_have_text(re.compile(r"\w+ \w+"), timeout=CAPTION_TIMEOUT)


def test_a_dropped_file_is_captioned(page: Page) -> None:
    transfer = page.evaluate_handle(
        """(bytes) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(bytes)], "dropped.jpg", {type: "image/jpeg"}));
            return transfer;
        }""",
        list(numbered(11)[5]),
    )
    page.dispatch_event("body", "drop", {"dataTransfer": transfer})

    card = page.locator("#cards .card", has_text="dropped.jpg")
    expect(card.locator(".caption")).to_be_visible(timeout=CAPTION_TIMEOUT)


def test_an_invalid_file_shows_its_error_and_can_be_retried(page: Page) -> None:
    choose_files(page, [{"name": "diary.jpg", "mimeType": "image/jpeg", "buffer": b"dear diary"}])

    card = page.locator("#cards .card")
    expect(card.locator(".error")).to_contain_text("Not a picture", timeout=CAPTION_TIMEOUT)
    card.get_by_role("button", name="Retry").click()
    expect(card.locator(".error")).to_contain_text("Not a picture", timeout=CAPTION_TIMEOUT)


def test_many_files_are_captioned_and_an_invalid_file_fails(page: Page) -> None:
    choose_files(page, [*files(numbered(12)), {"name": "empty.jpg", "mimeType": "image/jpeg", "buffer": b""}])

    expect(page.locator("#summary")).to_have_text("13 done", timeout=CAPTION_TIMEOUT)
    expect(page.locator("#cards .caption")).to_have_count(12)
    expect(page.locator("#cards .error")).to_have_count(1)


def test_a_caption_can_be_copied_with_the_keyboard(page: Page) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    choose_files(page, files([encoded()]))
    caption = page.locator("#cards .caption")
    expect(caption).to_be_visible(timeout=CAPTION_TIMEOUT)

    page.get_by_role("button", name="Copy the caption").focus()
    page.keyboard.press("Enter")

    expect(page.locator("#cards button").first).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == caption.text_content()


def test_a_reload_keeps_the_cards_of_the_tab(page: Page) -> None:
    choose_files(page, files(numbered(3)))
    expect(page.locator("#cards .caption")).to_have_count(3, timeout=CAPTION_TIMEOUT)

    page.reload()

    expect(page.locator("#cards .caption")).to_have_count(3, timeout=CAPTION_TIMEOUT)


def test_the_notice_about_the_demo_model_is_shown(page: Page) -> None:
    expect(page.locator("#notice")).to_contain_text("student_epoch6.pt")


def test_every_control_has_an_accessible_name(page: Page) -> None:
    choose_files(page, files([encoded()]))
    expect(page.locator("#cards .caption")).to_be_visible(timeout=CAPTION_TIMEOUT)

    for control in page.locator("button:visible, input:visible, a:visible").all():
        name = control.get_attribute("aria-label") or control.text_content() or ""
        labelled = control.get_attribute("id") and page.locator(f"label[for={control.get_attribute('id')}]").count()
        assert name.strip() or labelled, control.evaluate("control => control.outerHTML")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_needs_no_horizontal_scrolling(browser: Browser, service: Service, scheme: str) -> None:
    context = browser.new_context(viewport={"width": 360, "height": 740}, color_scheme=scheme)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(service.url)
    choose_files(page, files(numbered(2)))
    expect(page.locator("#cards .caption")).to_have_count(2, timeout=CAPTION_TIMEOUT)

    assert page.evaluate("document.documentElement.scrollWidth") == 360
    context.close()


def test_the_form_works_without_javascript(browser: Browser, service: Service) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(service.url)
    choose_files(page, files(numbered(9)[4:6]))
    page.get_by_role("button", name="Caption").click()

    expect(page.locator(".caption")).to_have_count(2, timeout=CAPTION_TIMEOUT)
    context.close()
