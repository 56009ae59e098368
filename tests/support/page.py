"""The web page in Chromium, as a person uses it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, expect

from tests.support.images import encoded, numbered

#: Milliseconds within which a busy machine must caption.
CAPTION_TIMEOUT = 60_000


def files(images: list[bytes], name: str = "picture") -> list[dict[str, Any]]:
    """The images as files for a file input: `picture 0.jpg` and so on."""
    return [
        {"name": f"{name} {number}.jpg", "mimeType": "image/jpeg", "buffer": data} for number, data in enumerate(images)
    ]


def choose_files(page: Page, chosen: Any) -> None:
    """Choose files in the form: those of `files`, or paths."""
    page.set_input_files("#images", chosen)


def drop(page: Page, *paths: Path) -> None:
    """Drop files and folders onto the page, as a file manager does."""
    session = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    for event in ("dragEnter", "dragOver", "drop"):
        session.send("Input.dispatchDragEvent", {"type": event, "x": 200, "y": 200, "data": data})
    session.detach()


def caption_files(page: Page, count: int) -> list[str]:
    """Choose `count` files on the start page, wait for their captions, and return these."""
    choose_files(page, files(numbered(count)))
    captions = page.locator("#cards .caption")
    expect(captions).to_have_count(count, timeout=CAPTION_TIMEOUT)
    return captions.all_text_contents()


def edit(page: Page, number: int, text: str) -> None:
    """Write a caption for a card, and close the editor."""
    page.locator("#cards .card").nth(number).get_by_role("button", name="Edit").click()
    page.locator("#editor-caption").fill(text)
    page.locator("#editor").get_by_role("button", name="Save").click()
    expect(page.locator("#cards .caption", has_text=text)).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#editor")).to_be_hidden()


def save_pictures(folder: Path, *names: str) -> Path:
    """Write a picture for each name below `folder`, and return the folder."""
    for name, data in zip(names, numbered(max(1, len(names))), strict=True):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


#: A caption of at least two words.
SENTENCE = re.compile(r"\w+ \w+")
#: An image for tests that need only one.
PICTURE = encoded()
