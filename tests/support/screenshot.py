"""`python -m tests.support.screenshot FOLDER OUT`: a screenshot of the page with captioned photographs of FOLDER."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import expect, sync_playwright

from tests.support.browser import launch
from tests.support.service import Service

FILES = ("rocket.jpg", "chelsea.png", "coffee.png", "astronaut.png", "motorcycle_left.png", "camera.png")
#: Size of the screenshot in CSS pixels, and time that the captions may take, in milliseconds.
SIZE, CAPTION_TIMEOUT = {"width": 1120, "height": 1010}, 120_000


def take_screenshot(folder: Path, out: Path) -> None:
    """Run the service, caption the photographs in `folder`, and write a screenshot of the page to `out`."""
    with tempfile.TemporaryDirectory() as data, sync_playwright() as playwright:
        service = Service(Path(data)).start()
        browser = launch(playwright)
        assert browser is not None, "There is no Chromium on this machine."
        page = browser.new_page(viewport=SIZE, device_scale_factor=1.5)  # type: ignore[arg-type]
        page.goto(service.url)
        page.set_input_files("#images", [folder / name for name in FILES])
        expect(page.locator("#cards .caption")).to_have_count(len(FILES), timeout=CAPTION_TIMEOUT)
        page.screenshot(path=out)
        browser.close()
        service.stop()


if __name__ == "__main__":
    take_screenshot(Path(sys.argv[1]), Path(sys.argv[2]))
