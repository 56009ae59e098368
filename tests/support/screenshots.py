"""`python -m tests.support.screenshots PHOTOS OUT`: pictures of the page with the photographs of a folder.

Writes `screenshot.webp`, a batch with its captions, and `page.webp`, an animation from the start page to an edited
caption, to the folder OUT.
"""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, ViewportSize, expect, sync_playwright

from tests.support.browser import launch
from tests.support.page import drop
from tests.support.service import Service

FILES = ("rocket.jpg", "chelsea.png", "coffee.png", "astronaut.png", "motorcycle_left.png", "camera.png")
#: Size of the window in CSS pixels, and time that the captions may take, in milliseconds.
SIZE: ViewportSize = {"width": 1120, "height": 860}
CAPTION_TIMEOUT = 120_000
#: Width of the animation in pixels, and its quality from 0 to 100.
ANIMATION_WIDTH, QUALITY = 900, 72


class Animation:
    """Frames of a page, each shown for some milliseconds."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._frames: list[Image.Image] = []
        self._durations: list[int] = []

    def add(self, milliseconds: int) -> None:
        """Add what the page shows now."""
        frame = Image.open(io.BytesIO(self._page.screenshot())).convert("RGB")
        height = round(frame.height * ANIMATION_WIDTH / frame.width)
        self._frames.append(frame.resize((ANIMATION_WIDTH, height), Image.Resampling.LANCZOS))
        self._durations.append(milliseconds)

    def save(self, path: Path) -> None:
        first, *others = self._frames
        first.save(
            path, save_all=True, append_images=others, duration=self._durations, loop=0, quality=QUALITY, method=6
        )


def take_screenshots(photos: Path, out: Path) -> None:
    """Run the service, caption the photographs, and write the pictures."""
    with tempfile.TemporaryDirectory() as data, sync_playwright() as playwright:
        folder = Path(data) / "Photographs"
        folder.mkdir()
        for name in FILES:
            shutil.copy(photos / name, folder)
        service = Service(Path(data) / "service").start()
        browser = launch(playwright)
        assert browser is not None, "There is no Chromium on this machine."
        page = browser.new_page(viewport=SIZE, device_scale_factor=1.5)
        page.goto(service.url, wait_until="networkidle")
        animation = Animation(page)
        animation.add(1500)
        drop(page, folder)
        captions = page.locator("#cards .caption")
        while captions.count() < len(FILES):
            animation.add(400)
        expect(page.locator("#progress")).to_be_hidden(timeout=CAPTION_TIMEOUT)
        page.wait_for_load_state("networkidle")
        Image.open(io.BytesIO(page.screenshot())).save(out / "screenshot.webp", quality=QUALITY, method=6)
        animation.add(2000)
        edit(page, animation)
        animation.save(out / "page.webp")
        browser.close()
        service.stop()


def edit(page: Page, animation: Animation) -> None:
    """Edit the caption of the cat, and replace a word in all captions."""
    page.locator(".card", has_text="chelsea.png").get_by_role("button", name="Edit").click()
    page.wait_for_load_state("networkidle")
    animation.add(1500)
    text = page.locator("#editor-caption")
    text.fill("")
    for word in ("Chelsea the cat", " looks at", " the camera"):
        text.press_sequentially(word)
        animation.add(400)
    text.press("Enter")
    page.keyboard.press("Escape")
    expect(page.locator("#editor")).to_be_hidden()
    animation.add(1500)
    page.get_by_role("button", name="Find and replace").click()
    page.get_by_label("Find", exact=True).fill("a")
    page.get_by_label("Replace with").fill("one")
    animation.add(2000)
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Download").click()
    animation.add(2000)


if __name__ == "__main__":
    take_screenshots(Path(sys.argv[1]), Path(sys.argv[2]))
