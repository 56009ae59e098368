"""The choice of a model on the page, with a service that has two."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.images import numbered
from tests.support.page import CAPTION_TIMEOUT, choose_files, files
from tests.support.processes import TwoModels
from tests.support.service import wait_until

IMAGES = numbered(50)[40:]


@pytest.fixture
def page(browser: Browser, two_models: TwoModels) -> Iterator[Page]:
    context = browser.new_context()
    page = context.new_page()
    page.goto(two_models.url)
    yield page
    context.close()


def test_the_chosen_model_captions_the_pictures_and_the_cards_name_it(page: Page) -> None:
    expect(page.locator("#model")).to_have_text("demo · second")
    for number, model in enumerate(TwoModels.MODELS):
        page.get_by_label("Model").select_option(label=model)
        choose_files(page, files(IMAGES[number : number + 1]))

        expect(page.locator("#cards .caption")).to_be_visible(timeout=CAPTION_TIMEOUT)
        expect(page.locator("#cards .by")).to_have_text(model)
        page.get_by_role("link", name="All batches").click()


def test_pictures_added_to_an_ended_batch_are_captioned_by_its_model(page: Page, two_models: TwoModels) -> None:
    page.get_by_label("Model").select_option(label="second")
    choose_files(page, files(IMAGES[2:3]))
    expect(page.locator("#cards .caption")).to_be_visible(timeout=CAPTION_TIMEOUT)
    batch = page.url.rsplit("/", 1)[1]
    page.request.post(f"{two_models.url}/v1/batches/{batch}/seal")
    page.reload()
    choose_files(page, files(IMAGES[3:4]))

    expect(page).not_to_have_url(re.compile(batch))
    expect(page.locator("#cards .by")).to_have_text("second", timeout=CAPTION_TIMEOUT)


def test_a_form_without_javascript_has_the_choice_too(browser: Browser, two_models: TwoModels) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(two_models.url)
    page.get_by_label("Model").select_option(label="second")
    choose_files(page, files(IMAGES[4:5]))
    page.get_by_role("button", name="Caption").click()

    expect(page.locator("h1.caption")).to_be_visible(timeout=CAPTION_TIMEOUT)
    expect(page.locator("dd", has_text="second")).to_be_visible()
    context.close()


def test_the_page_says_when_no_worker_has_the_model(page: Page, two_models: TwoModels) -> None:
    two_models.second.terminate()
    two_models.second.wait()
    wait_until(lambda: two_models.get("/v1/models")[1]["models"][1]["workers"] == 0, two_models.log)
    page.reload()
    page.get_by_label("Model").select_option(label="second (not running)")
    choose_files(page, files(IMAGES[5:6]))

    expect(page.locator("#progress-text")).to_contain_text("No worker with the model second is running.")
    two_models.start_second()
    expect(page.locator("#cards .by")).to_have_text("second", timeout=CAPTION_TIMEOUT)
    expect(page.locator("#progress")).to_be_hidden()
