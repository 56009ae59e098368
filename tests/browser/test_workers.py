"""The page of the workers refreshes itself."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.support.service import Service


def test_the_page_shows_the_present_state_without_a_reload(page: Page, service: Service) -> None:
    page.clock.install()
    page.goto(f"{service.url}/workers")
    expect(page.get_by_role("row")).to_have_count(2)
    page.evaluate("document.querySelector('tbody').remove()")

    page.clock.fast_forward(5000)

    expect(page.get_by_role("row")).to_have_count(2)
