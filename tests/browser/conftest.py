"""Fixtures of the tests in Chromium."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.support.browser import launch
from tests.support.service import Service


@pytest.fixture(scope="session")
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
    """The start page. Fails on errors in the console of it or of its tabs, other than of failing requests."""
    context = browser.new_context()
    errors: list[str] = []
    context.on("weberror", lambda error: errors.append(str(error.error)))
    context.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page = context.new_page()
    page.goto(service.url)
    yield page
    context.close()
    assert [error for error in errors if "Failed to load resource" not in error] == []
