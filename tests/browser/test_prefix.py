"""The page below a path of a proxy, in a real Chromium: nothing that it asks for is outside that path."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, Request, expect

from common.settings import Settings
from tests.browser.test_page import PATIENCE, browser, choose, files
from tests.browser.test_sign_in import sign_in
from tests.support.images import numbered
from tests.support.keys import add_key
from tests.support.proxy import PREFIX, proxy
from tests.support.service import Service

__all__ = ["browser"]


@pytest.fixture(scope="module")
def secret(tmp_path_factory: pytest.TempPathFactory) -> str:
    return add_key(Settings(data=tmp_path_factory.getbasetemp() / "behind"), "alice")


@pytest.fixture(scope="module")
def start(secret: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of the page behind the proxy, of a service that needs a key."""
    service = Service(Path(tmp_path_factory.getbasetemp() / "behind"), trusted_proxies=1).start()
    with proxy(service.port) as url:
        yield url
    service.stop()


@pytest.fixture(params=[True, False], ids=["with scripts", "without scripts"])
def page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A page all of whose requests must be below the path."""
    context = browser.new_context(java_script_enabled=request.param)
    page = context.new_page()
    asked: list[str] = []

    def note(sent: Request) -> None:
        if sent.url.startswith("http:"):  # not the previews, which are in the browser's memory
            asked.append(urlsplit(sent.url).path)

    page.on("request", note)
    yield page
    context.close()
    assert asked and [path for path in asked if not path.startswith(f"{PREFIX}/")] == []


def test_signing_in_sending_following_and_signing_out_work(
    page: Page, start: str, secret: str, request: pytest.FixtureRequest
) -> None:
    scripts = request.node.callspec.params["page"]
    page.goto(start)
    sign_in(page, secret)
    choose(page, files(numbered(41)[7:9] if scripts else numbered(41)[9:10]))
    if not scripts:
        page.get_by_role("button", name="Caption").click()
    captions = page.locator("#cards .caption" if scripts else ".caption")
    expect(captions).to_have_count(2 if scripts else 1, timeout=PATIENCE)
    expect(captions.first).to_have_text(re.compile(r"\w+ \w+"))
    assert [cookie["path"] for cookie in page.context.cookies()] == [PREFIX]

    page.goto(start)
    if scripts:
        expect(captions).to_have_count(2, timeout=PATIENCE)
    thumb = page.locator(".card img").first
    expect(thumb).to_have_attribute("src", re.compile(f"^{PREFIX}/v1/jobs/"))
    assert page.request.get(f"{urlsplit(start).scheme}://{urlsplit(start).netloc}{thumb.get_attribute('src')}").ok

    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("API key")).to_be_visible()
    assert page.context.cookies() == []


def test_the_description_of_the_api_is_there_with_its_links(page: Page, start: str) -> None:
    page.goto(f"{start}docs")
    with page.expect_navigation() as navigation:
        page.get_by_role("link", name="openapi.json").click()

    assert navigation.value.json()["servers"] == [{"url": PREFIX}]
