"""Folders, archives and interrupted uploads, in Chromium against a running service."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

from playwright.sync_api import Page, Route, expect

from tests.support.images import numbered
from tests.support.page import (
    CAPTION_TIMEOUT,
    PICTURE,
    SENTENCE,
    caption_files,
    choose_files,
    drop,
    files,
    save_pictures,
)
from tests.support.service import Service, wait_until

ITEMS = re.compile(r"/v1/batches/[^/]+/items")


class Held:
    """Holds the uploads of a page: lets the first ones pass, and the others wait."""

    def __init__(self, page: Page, allowed: int) -> None:
        self.allowed = allowed
        self.routes: list[Route] = []
        page.route(ITEMS, self._handle)

    def _handle(self, route: Route) -> None:
        if self.allowed:
            self.allowed -= 1
            route.continue_()
        else:
            self.routes.append(route)


def names(page: Page) -> list[str]:
    return page.locator("#cards .file span").all_text_contents()


def stored(page: Page) -> list[str]:
    """The names of the batch's files that the browser keeps until they are sent."""
    pending = "async (batch) => (await import('/static/pending.js')).pendingNames(batch)"
    names: list[str] = page.evaluate(pending, page.url[-36:])
    return names


def test_a_dropped_folder_becomes_a_batch_with_the_names_of_its_folders(page: Page, tmp_path: Path) -> None:
    folder = save_pictures(tmp_path / "holiday", "2.jpg", "10.jpg", "day 1/a.jpg", "day 1/b.CR2")
    (folder / "notes.txt").write_text("not a picture")
    (folder / ".hidden.jpg").write_bytes(PICTURE)

    drop(page, folder)

    expect(page.locator("#cards .caption")).to_have_count(4, timeout=CAPTION_TIMEOUT)
    expect(page.get_by_role("heading", level=1)).to_have_text("holiday")
    assert names(page) == ["holiday/2.jpg", "holiday/10.jpg", "holiday/day 1/a.jpg", "holiday/day 1/b.CR2"]


def test_a_chosen_folder_keeps_its_names(page: Page, tmp_path: Path) -> None:
    page.set_input_files("#folder", save_pictures(tmp_path / "trip", "a.jpg", "b/c.jpg"))

    expect(page.locator("#cards .caption")).to_have_count(2, timeout=CAPTION_TIMEOUT)
    assert names(page) == ["trip/a.jpg", "trip/b/c.jpg"]


def test_more_than_a_hundred_files_of_a_dropped_folder_are_sent(page: Page, tmp_path: Path) -> None:
    folder = save_pictures(tmp_path / "many", *(f"{number}.jpg" for number in range(105)))
    page.route(ITEMS, lambda route: None)

    drop(page, folder)

    expect(page.locator("#facts")).to_have_text("105 pictures")


def test_a_zip_file_is_unpacked_by_the_service(page: Page, tmp_path: Path) -> None:
    archive = tmp_path / "album.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for number, data in enumerate(numbered(3)):
            file.writestr(f"album/{number}.jpg", data)

    drop(page, archive)

    expect(page.locator("#cards .caption")).to_have_count(3, timeout=CAPTION_TIMEOUT)
    expect(page.get_by_role("heading", level=1)).to_have_text("album.zip")
    assert names(page) == ["album/0.jpg", "album/1.jpg", "album/2.jpg"]


def test_two_different_files_of_one_name_are_both_captioned(page: Page) -> None:
    small, large = numbered(2)[0], PICTURE
    assert len(small) != len(large)
    for data in (small, large):
        choose_files(page, [{"name": "image.jpg", "mimeType": "image/jpeg", "buffer": data}])

    expect(page.locator("#cards .caption")).to_have_count(2, timeout=CAPTION_TIMEOUT)
    assert sorted(names(page)) == ["image (2).jpg", "image.jpg"]


def test_an_invalid_file_shows_its_error_and_can_be_retried(page: Page) -> None:
    choose_files(page, [{"name": "diary.jpg", "mimeType": "image/jpeg", "buffer": b"dear diary"}])

    card = page.locator("#cards .card")
    expect(card.locator(".error")).to_contain_text("Not a picture", timeout=CAPTION_TIMEOUT)
    with page.expect_request(ITEMS):
        card.get_by_role("button", name="Try again").click()
    expect(card.locator(".error")).to_contain_text("Not a picture", timeout=CAPTION_TIMEOUT)


def test_a_closed_tab_loses_nothing_and_a_new_one_sends_the_rest(page: Page, service: Service) -> None:
    Held(page, allowed=2)
    choose_files(page, files(numbered(6), "resumed"))
    expect(page.locator("#progress-text")).to_contain_text("2 of 6 sent", timeout=CAPTION_TIMEOUT)
    expect(page.locator("#cards .card[data-status=sending]")).to_have_count(3)
    wait_until(lambda: len(stored(page)) == 4)
    batch = page.url
    page.close(run_before_unload=False)

    other = page.context.new_page()
    other.goto(service.url)  # the start page sends the rest in the background
    wait_until(lambda: service.get(f"/v1/batches/{batch[-36:]}")[1]["status"] != "open")

    other.goto(batch)
    expect(other.locator("#cards .caption")).to_have_count(6, timeout=CAPTION_TIMEOUT)
    assert names(other) == [f"resumed {number}.jpg" for number in range(6)]


def test_a_reload_sends_the_rest(page: Page) -> None:
    Held(page, allowed=1)
    choose_files(page, files(numbered(5), "reloaded"))
    expect(page.locator("#progress-text")).to_contain_text("1 of 5 sent", timeout=CAPTION_TIMEOUT)
    wait_until(lambda: len(stored(page)) == 4)
    page.unroute_all(behavior="ignoreErrors")

    page.reload()

    expect(page.locator("#cards .caption")).to_have_count(5, timeout=CAPTION_TIMEOUT)


def test_two_tabs_send_each_file_once(page: Page) -> None:
    sent: list[str] = []
    page.context.on("request", lambda request: sent.append(request.url) if ITEMS.search(request.url) else None)
    held = Held(page, allowed=1)
    choose_files(page, files(numbered(5), "once"))
    expect(page.locator("#progress-text")).to_contain_text("1 of 5 sent", timeout=CAPTION_TIMEOUT)
    other = page.context.new_page()
    other.goto(page.url)
    expect(other.locator("#cards .card")).to_have_count(1, timeout=CAPTION_TIMEOUT)

    held.allowed = 9
    for route in held.routes:
        route.continue_()

    for tab in (page, other):
        expect(tab.locator("#cards .caption")).to_have_count(5, timeout=CAPTION_TIMEOUT)
    assert len(sent) == 5


def test_uploads_wait_while_the_network_is_down(page: Page) -> None:
    caption_files(page, 1)
    page.context.set_offline(True)
    expect(page.locator("#offline")).to_be_visible()
    choose_files(page, files([numbered(31)[7]], "later"))
    card = page.locator("#cards .card", has_text="later 0.jpg")
    expect(card.locator(".state")).to_be_visible()

    page.context.set_offline(False)

    expect(page.locator("#offline")).to_be_hidden(timeout=10_000)
    expect(card.locator(".caption")).to_have_text(SENTENCE, timeout=CAPTION_TIMEOUT)


def test_one_picture_and_then_all_are_canceled(page: Page) -> None:
    Held(page, allowed=0)
    choose_files(page, files(numbered(5)))
    cards = page.locator("#cards .card")
    cards.nth(4).get_by_role("button", name="Cancel").click()
    expect(cards.nth(4)).to_contain_text("Canceled")

    page.get_by_role("button", name="Cancel all").click()

    expect(page.locator("#cards .card[data-status=canceled]")).to_have_count(5)
    expect(page.locator("#progress")).to_be_hidden()


def test_a_canceled_picture_is_retried(page: Page) -> None:
    Held(page, allowed=0)
    choose_files(page, files(numbered(1)))
    page.locator("#cards").get_by_role("button", name="Cancel").click()
    page.unroute_all(behavior="ignoreErrors")

    page.locator("#cards").get_by_role("button", name="Try again").click()

    expect(page.locator("#cards .caption")).to_have_text(SENTENCE, timeout=CAPTION_TIMEOUT)


def test_many_files_are_captioned_and_an_invalid_file_fails(page: Page) -> None:
    choose_files(page, [*files(numbered(12)), {"name": "empty.jpg", "mimeType": "image/jpeg", "buffer": b""}])

    expect(page.locator("#facts")).to_have_text("13 pictures · 1 failed", timeout=CAPTION_TIMEOUT)
    expect(page.locator("#progress")).to_be_hidden(timeout=CAPTION_TIMEOUT)
    page.get_by_role("button", name="Failed 1").click()
    expect(page.locator("#cards .error")).to_have_count(1)
