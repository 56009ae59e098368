"""`python -m tests.support.screenshot PICTURES OUT`: the page after it captioned some photographs."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import expect, sync_playwright

from tests.support.browser import launch
from tests.support.service import Service

PICTURES = ("rocket.jpg", "chelsea.png", "coffee.png", "astronaut.png", "motorcycle_left.png", "camera.png")
#: What is shown, in CSS pixels, and how long the captions may take, in milliseconds.
SIZE, PATIENCE = {"width": 1120, "height": 1010}, 120_000


def take(pictures: Path, out: Path) -> None:
    """Run the service, caption the pictures, photograph the page."""
    with tempfile.TemporaryDirectory() as data, sync_playwright() as playwright:
        service = Service(Path(data)).start()
        browser = launch(playwright)
        assert browser is not None, "There is no Chromium on this machine."
        page = browser.new_page(viewport=SIZE, device_scale_factor=1.5)  # type: ignore[arg-type]
        page.goto(service.url)
        page.set_input_files("#images", [pictures / name for name in PICTURES])
        expect(page.locator("#cards .caption")).to_have_count(len(PICTURES), timeout=PATIENCE)
        page.screenshot(path=out)
        browser.close()
        service.stop()


if __name__ == "__main__":
    take(Path(sys.argv[1]), Path(sys.argv[2]))
