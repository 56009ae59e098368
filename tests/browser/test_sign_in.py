"""Sign-in in Chromium, against a running service that requires keys."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from common.settings import Settings
from tests.support.images import numbered
from tests.support.keys import add_key, revoke_key
from tests.support.page import CAPTION_TIMEOUT, choose_files, files
from tests.support.service import Service, wait_until


@pytest.fixture(scope="module")
def key_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that requires keys."""
    data = Path(tmp_path_factory.mktemp("keys"))
    (data / "keys").touch()
    service = Service(data).start()
    yield service
    service.stop()


@pytest.fixture
def secret(key_service: Service, request: pytest.FixtureRequest) -> Iterator[str]:
    """The secret of a key that was added while the service ran."""
    settings, name = Settings(data=key_service.data), f"key{abs(hash(request.node.name))}"
    secret = add_key(settings, name)
    wait_until(lambda: key_service.get("/v1/models", Authorization=f"Bearer {secret}")[0] == 200, timeout=10)
    yield secret
    revoke_key(settings, name)


@pytest.mark.parametrize("javascript", [True, False], ids=["with JavaScript", "without JavaScript"])
def test_a_key_is_entered_once_and_valid_until_sign_out(
    browser: Browser, key_service: Service, secret: str, javascript: bool
) -> None:
    context = browser.new_context(java_script_enabled=javascript)
    page = context.new_page()
    page.goto(key_service.url)
    expect(page.locator("#images")).to_have_count(0)

    sign_in(page, "captiond_wrong")
    expect(page.get_by_role("alert")).to_contain_text("unknown")
    sign_in(page, secret)
    choose_files(page, files(numbered(31)[2:3]))
    if not javascript:
        page.get_by_role("button", name="Caption").click()
    expect(page.locator(".caption")).to_have_text(re.compile(r"\w+ \w+"), timeout=CAPTION_TIMEOUT)
    assert secret not in page.content()

    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("API key")).to_be_visible()
    page.goto(key_service.url)
    expect(page.get_by_label("API key")).to_be_visible()
    context.close()


def test_another_site_cannot_use_the_cookie(
    browser: Browser, key_service: Service, secret: str, other_site: str
) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(key_service.url)
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
                [method, f"{key_service.url}/v1/jobs"],
            )
        statuses.append(navigation.value.status)

    assert statuses == [403, 401]
    context.close()


@pytest.fixture
def other_site() -> Iterator[str]:
    """The URL of a page on localhost, which browsers treat as another site than 127.0.0.1."""

    class BlankPage(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<title>other</title>")

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), BlankPage) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://localhost:{server.server_port}/"
        server.shutdown()


def sign_in(page: Page, secret: str) -> None:
    page.get_by_label("API key").fill(secret)
    page.get_by_role("button", name="Sign in").click()
