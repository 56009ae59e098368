"""The page behind a proxy with a path prefix, in Chromium: every request is below the prefix."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, Request, expect

from common.settings import Settings
from tests.browser.test_sign_in import sign_in
from tests.support.images import numbered
from tests.support.keys import add_key
from tests.support.page import CAPTION_TIMEOUT, choose_files, files
from tests.support.proxy import PREFIX, proxy
from tests.support.service import Service


@pytest.fixture(scope="module")
def secret(tmp_path_factory: pytest.TempPathFactory) -> str:
    return add_key(Settings(data=tmp_path_factory.getbasetemp() / "proxied"), "alice")


@pytest.fixture(scope="module")
def start_url(secret: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of the start page behind the proxy. The service requires a key."""
    service = Service(Path(tmp_path_factory.getbasetemp() / "proxied"), trusted_proxies=1).start()
    with proxy(service.port) as url:
        yield url
    service.stop()


@pytest.fixture(params=[True, False], ids=["with JavaScript", "without JavaScript"])
def page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A page. Fails if one of its requests is not below the prefix."""
    context = browser.new_context(java_script_enabled=request.param)
    page = context.new_page()
    paths: list[str] = []

    def record(request: Request) -> None:
        if request.url.startswith("http:"):  # previews have blob: URLs
            paths.append(urlsplit(request.url).path)

    page.on("request", record)
    yield page
    context.close()
    assert paths and [path for path in paths if not path.startswith(f"{PREFIX}/")] == []


def test_sign_in_upload_caption_and_sign_out_work(
    page: Page, start_url: str, secret: str, request: pytest.FixtureRequest
) -> None:
    javascript = request.node.callspec.params["page"]
    page.goto(start_url)
    sign_in(page, secret)
    choose_files(page, files(numbered(41)[7:9] if javascript else numbered(41)[9:10]))
    if not javascript:
        page.get_by_role("button", name="Caption").click()
    captions = page.locator("#cards .caption" if javascript else ".caption")
    expect(captions).to_have_count(2 if javascript else 1, timeout=CAPTION_TIMEOUT)
    expect(captions.first).to_have_text(re.compile(r"\w+ \w+"))
    assert [cookie["path"] for cookie in page.context.cookies()] == [PREFIX]

    if javascript:
        page.reload()
        expect(captions).to_have_count(2, timeout=CAPTION_TIMEOUT)
    else:
        page.goto(start_url)
    thumbnail = page.locator(".card img").first
    expect(thumbnail).to_have_attribute("src", re.compile(f"^{PREFIX}/v1/jobs/"))
    assert page.request.get(
        f"{urlsplit(start_url).scheme}://{urlsplit(start_url).netloc}{thumbnail.get_attribute('src')}"
    ).ok

    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("API key")).to_be_visible()
    assert page.context.cookies() == []


def test_the_docs_page_links_to_the_openapi_document(page: Page, start_url: str) -> None:
    page.goto(f"{start_url}docs")
    with page.expect_navigation() as navigation:
        page.get_by_role("link", name="openapi.json").click()

    assert navigation.value.json()["servers"] == [{"url": PREFIX}]
