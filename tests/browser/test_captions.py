"""Captions on the page of a batch, in Chromium against a running service: edited, found, copied and downloaded."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from tests.support.page import CAPTION_TIMEOUT, SENTENCE, caption_files, edit
from tests.support.service import Service

JOBS = re.compile(r"/v1/batches/[^/]+/jobs")


def captions(page: Page) -> list[str]:
    return page.locator("#cards .caption").all_text_contents()


def test_an_edited_caption_survives_a_reload_beside_what_the_model_said(page: Page) -> None:
    said = caption_files(page, 2)[0]
    edit(page, 0, "a ball that I drew")

    page.reload()

    card = page.locator("#cards .card").first
    expect(card.locator(".caption")).to_have_text("a ball that I drew")
    expect(card.locator(".badge")).to_have_text("Edited")
    card.get_by_role("button", name="Edit").click()
    expect(page.locator("#editor-said")).to_have_text(said)
    page.get_by_role("button", name="Use this").click()
    page.get_by_role("button", name="Save").click()
    expect(card.locator(".caption")).to_have_text(said)
    expect(card.get_by_text("Edited")).to_have_count(0)


def test_an_edit_is_undone(page: Page) -> None:
    said = caption_files(page, 1)
    edit(page, 0, "first")
    edit(page, 0, "second")

    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#cards .caption")).to_have_text("first")
    page.keyboard.press("Control+z")

    expect(page.locator("#cards .caption")).to_have_text(said)
    expect(page.get_by_role("button", name="Undo")).to_be_hidden()


def test_another_of_the_best_captions_is_chosen(page: Page) -> None:
    caption_files(page, 1)
    page.locator("#cards").get_by_role("button", name="Edit").click()
    choice = page.locator("#editor-choices button").first
    other = choice.text_content()
    assert other

    choice.click()
    page.get_by_role("button", name="Save").click()

    expect(page.locator("#cards .caption")).to_have_text(other)
    expect(page.locator("#cards .badge")).to_have_text("Edited")


def test_words_are_replaced_in_many_captions_after_a_preview(page: Page) -> None:
    said = caption_files(page, 3)
    for number, text in enumerate(("a dog", "the dog and a dogma", "a cat")):
        edit(page, number, text)

    page.get_by_role("button", name="Find and replace").click()
    page.get_by_label("Find", exact=True).fill("dog")
    page.get_by_label("Replace with").fill("wolf")
    expect(page.locator("#replace-count")).to_have_text("2 captions will change.")
    expect(page.locator("#replace-preview del")).to_have_text(["dog", "dog"])
    assert captions(page) == ["a dog", "the dog and a dogma", "a cat"]
    page.get_by_role("button", name="Replace", exact=True).click()

    expect(page.locator("#cards .caption")).to_have_text(["a wolf", "the wolf and a dogma", "a cat"])
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#cards .caption")).to_have_text(["a dog", "the dog and a dogma", "a cat"])
    assert said


def test_a_rejected_edit_says_so_and_keeps_the_text(page: Page) -> None:
    caption_files(page, 1)
    problem = '{"title": "The job store is unavailable", "detail": "Send it again."}'
    page.route("**/v1/jobs", lambda route: route.fulfill(status=503, body=problem))

    page.locator("#cards").get_by_role("button", name="Edit").click()
    page.locator("#editor-caption").fill("mine")
    page.get_by_role("button", name="Save").click()

    expect(page.locator("#editor-error")).to_have_text("The job store is unavailable. Send it again.")
    expect(page.locator("#editor-caption")).to_have_value("mine")


def test_the_search_finds_words_of_captions_and_names(page: Page) -> None:
    caption_files(page, 3)
    edit(page, 1, "a Zeppelin above the lake")
    cards = page.locator("#cards .card")

    page.get_by_role("searchbox").fill("lake zeppelin")
    expect(cards).to_have_count(1)
    page.get_by_role("searchbox").fill("picture 2")
    expect(cards).to_have_count(1)
    page.get_by_role("searchbox").fill("submarine")
    expect(page.get_by_text("No picture matches.")).to_be_visible()
    page.get_by_role("button", name="Show all").click()

    expect(cards).to_have_count(3)


def test_the_filters_show_unsure_and_edited_captions(page: Page) -> None:
    def be_unsure(route: Route) -> None:
        body = route.fetch().json()
        for job in body["jobs"]:
            if job["output"]:
                job["output"] |= {"confidence": 0.2, "unsure": job["custom_id"] != "picture 2.jpg"}
        route.fulfill(json=body)

    caption_files(page, 3)
    page.route(JOBS, be_unsure)
    page.reload()
    page.get_by_role("button", name="Unsure 2").click()
    cards = page.locator("#cards .card")
    expect(cards).to_have_count(2)
    cards.first.get_by_role("button", name="Edit").click()
    expect(page.locator("#editor-confidence")).to_have_text("Confidence: 20 %")
    page.locator("#editor-caption").fill("checked")
    page.keyboard.press("Enter")
    expect(page.locator("#editor-name")).to_have_text("picture 1.jpg")
    page.keyboard.press("Escape")

    expect(cards).to_have_count(1)
    page.get_by_role("button", name="Edited 1").click()
    expect(page.locator("#cards .caption")).to_have_text(["checked"])


def test_one_caption_and_all_are_copied(page: Page) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    said = caption_files(page, 2)

    page.get_by_role("button", name="Copy: picture 1.jpg").press("Enter")
    expect(page.locator("#cards").get_by_text("Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == said[1]
    page.get_by_role("button", name="Copy all").click()
    expect(page.locator("#copy-all")).to_have_text("Copied")

    assert page.evaluate("navigator.clipboard.readText()") == f"picture 0.jpg\t{said[0]}\npicture 1.jpg\t{said[1]}"


@pytest.mark.parametrize("format", ["csv", "txt.zip", "xmp.zip", "jsonl", "coco", "hf", "labelstudio"])
def test_the_captions_are_downloaded_in_each_format(page: Page, tmp_path: Path, format: str) -> None:
    caption_files(page, 1)
    edit(page, 0, "a caption of mine")

    page.get_by_role("button", name="Download").click()
    with page.expect_download() as download:
        page.locator(f"[data-format='{format}']").click()

    content = download.value.path().read_bytes()
    if format.endswith(".zip"):
        assert content.startswith(b"PK")
    else:
        assert b"a caption of mine" in content


def test_the_page_of_a_picture_shows_and_changes_its_caption(page: Page, service: Service) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    said = caption_files(page, 1)[0]
    page.goto(page.locator("#cards .thumb").get_attribute("href") or "")

    expect(page.locator("h1")).to_have_text(said)
    expect(page.locator(".job li").first).to_be_visible()
    for fact in ("Model", "Picture", "Sent", "Kept until"):
        expect(page.locator(".facts")).to_contain_text(fact)
    page.get_by_role("button", name="Copy the link").click()
    expect(page.get_by_text("Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == page.url
    page.get_by_role("button", name="Edit").click()
    page.locator("#editor-caption").fill("mine")
    page.keyboard.press("Enter")

    expect(page.locator("h1")).to_have_text("mine")
    expect(page.locator(".job")).to_contain_text(f"The model said: {said}")


def test_the_page_of_a_waiting_picture_shows_its_caption_when_it_is_ready(page: Page, service: Service) -> None:
    caption_files(page, 1)
    url = page.locator("#cards .thumb").get_attribute("href") or ""
    polls: list[Route] = []

    job = service.job(url[-36:])
    waiting = {**job, "status": "queued", "output": None, "completed_at": None}

    def wait_once(route: Route) -> None:
        polls.append(route)
        route.fulfill(json=waiting if len(polls) == 1 else job)

    page.route(f"{service.url}/v1/jobs/{url[-36:]}", wait_once)
    with page.expect_navigation(url=url), page.expect_navigation(url=url):
        page.goto(url, wait_until="commit")

    expect(page.locator("h1.caption")).to_be_visible()


def test_a_batch_is_worked_through_with_the_keyboard_only(page: Page) -> None:
    caption_files(page, 3)
    page.locator("#cards .thumb").first.focus()

    page.keyboard.press("ArrowRight")
    assert focused(page) == "Open picture 1.jpg"
    page.keyboard.press("Enter")
    expect(page.locator("#editor-caption")).to_be_focused()
    page.keyboard.press("Control+a")
    page.keyboard.type("typed")
    page.keyboard.press("Enter")  # saves and goes on
    expect(page.locator("#editor-name")).to_have_text("picture 2.jpg")
    page.keyboard.press("PageUp")
    expect(page.locator("#editor-name")).to_have_text("picture 1.jpg")
    page.keyboard.press("Escape")
    expect(page.locator("#editor")).to_be_hidden()

    assert focused(page) == "Open picture 1.jpg"
    assert captions(page)[1] == "typed"
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()


def test_deleting_a_batch_removes_it_from_the_service(page: Page, service: Service) -> None:
    caption_files(page, 1)
    batch = page.url[-36:]

    page.get_by_role("button", name="Delete", exact=True).click()
    page.get_by_role("button", name="Delete for good").click()

    expect(page).to_have_url(f"{service.url}/")
    assert service.get(f"/v1/batches/{batch}")[0] == 410


def test_a_grid_of_thousands_keeps_few_cards_in_the_document(page: Page) -> None:
    def multiply(route: Route) -> None:
        body = route.fetch().json()
        if body["jobs"] and "cursor" not in route.request.url:
            text = json.dumps(body["jobs"][0])
            first = body["jobs"][0]["id"]
            body["jobs"] = [json.loads(text.replace(first, f"{number:032x}")) for number in range(5000)]
            for number, job in enumerate(body["jobs"]):
                job["custom_id"] = f"{number}.jpg"
        route.fulfill(json=body)

    caption_files(page, 1)
    page.route(JOBS, multiply)
    page.route(re.compile("/image"), lambda route: route.fulfill(body=b""))
    page.reload()
    expect(page.get_by_role("button", name="All 5,000")).to_be_visible(timeout=CAPTION_TIMEOUT)

    page.locator("#cards .thumb").first.focus()
    page.keyboard.press("End")

    assert focused(page) == "Open 4999.jpg"
    last = page.locator("#cards .card").last
    expect(last).to_be_in_viewport()
    expect(last).to_have_attribute("aria-posinset", "5000")
    assert page.locator("#cards .card").count() < 100


def focused(page: Page) -> str | None:
    return page.evaluate("document.activeElement.ariaLabel")  # type: ignore[no-any-return]


def change_jobs(page: Page, **changes: object) -> None:
    """Make the service's answers about the jobs of a batch have these members."""

    def change(route: Route) -> None:
        response = route.fetch()
        body = response.json()
        body["jobs"] = [{**job, **changes} for job in body["jobs"]]
        route.fulfill(response=response, json=body)

    page.route(JOBS, change)


def test_one_of_two_canceled_pictures_is_tried_again(page: Page) -> None:
    caption_files(page, 2)
    change_jobs(page, status="canceled", output=None)
    page.reload()
    cards = page.locator("#cards .card")
    expect(page.locator("#cards .card[data-status=canceled]")).to_have_count(2)

    with page.expect_request("**/v1/jobs/*/retry"):
        cards.first.get_by_role("button", name="Try again").click()

    expect(cards.first.locator(".caption")).to_have_text(SENTENCE)
    expect(cards.nth(1)).to_contain_text("Canceled")


def test_a_translation_is_below_the_caption_in_card_and_editor(page: Page) -> None:
    caption_files(page, 1)
    output = {"caption": "a dog", "translated": {"language": "ru", "caption": "собака"}, "alternatives": []}
    change_jobs(page, output=output)
    page.reload()

    translated = page.locator("#cards .caption + .translated")
    expect(translated).to_have_text("собака")
    expect(translated).to_have_attribute("lang", "ru")
    page.locator("#cards").get_by_role("button", name="Edit").click()
    expect(page.locator("#editor-translated")).to_have_text("собака")
