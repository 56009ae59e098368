"""The page where keys are needed, in a real Chromium, against the real service."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from common.settings import Settings
from tests.browser.test_page import PATIENCE, browser, choose, files
from tests.support.images import numbered
from tests.support.keys import add_key, revoke_key
from tests.support.service import Service, wait_until

__all__ = ["browser"]


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that needs keys."""
    data = Path(tmp_path_factory.mktemp("closed"))
    (data / "keys").touch()
    service = Service(data).start()
    yield service
    service.stop()


@pytest.fixture
def secret(closed: Service, request: pytest.FixtureRequest) -> Iterator[str]:
    """A key that was made while the service ran."""
    settings, name = Settings(data=closed.data), f"key{abs(hash(request.node.name))}"
    secret = add_key(settings, name)
    wait_until(lambda: closed.get("/v1/models", Authorization=f"Bearer {secret}")[0] == 200, timeout=10)
    yield secret
    revoke_key(settings, name)


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without scripts"])
def test_the_key_is_asked_for_once_and_then_everything_works(
    browser: Browser, closed: Service, secret: str, scripts: bool
) -> None:
    context = browser.new_context(java_script_enabled=scripts)
    page = context.new_page()
    page.goto(closed.url)
    expect(page.locator("#images")).to_have_count(0)

    sign_in(page, "captiond_wrong")
    expect(page.get_by_role("alert")).to_contain_text("not known")
    sign_in(page, secret)
    choose(page, files(numbered(31)[2:3]))
    if not scripts:
        page.get_by_role("button", name="Caption").click()
    expect(page.locator(".caption")).to_have_text(re.compile(r"\w+ \w+"), timeout=PATIENCE)
    assert secret not in page.content()

    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("API key")).to_be_visible()
    page.goto(closed.url)
    expect(page.get_by_label("API key")).to_be_visible()
    context.close()


def test_another_site_can_do_nothing_with_the_cookie(
    browser: Browser, closed: Service, secret: str, other_site: str
) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(closed.url)
    sign_in(page, secret)
    expect(page.locator("#images")).to_have_count(1)

    statuses = []
    for method in ("post", "get"):
        page.goto(other_site)
        with page.expect_navigation() as navigation:
            page.evaluate(
                """([method, action]) => {
                    const form = document.body.appendChild(document.createElement("form"));
                    Object.assign(form, {method, action}).submit();
                }""",
                [method, f"{closed.url}/v1/jobs"],
            )
        statuses.append(navigation.value.status)

    assert statuses == [403, 401]
    context.close()


@pytest.fixture
def other_site() -> Iterator[str]:
    """A page by the name of localhost, which for a browser is another site than 127.0.0.1."""

    class Blank(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<title>other</title>")

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Blank) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://localhost:{server.server_port}/"
        server.shutdown()


def sign_in(page: Page, secret: str) -> None:
    page.get_by_label("API key").fill(secret)
    page.get_by_role("button", name="Sign in").click()
