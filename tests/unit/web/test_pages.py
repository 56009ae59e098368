"""The HTML pages and their form, as a browser without JavaScript uses them."""

from __future__ import annotations

import io
import re
from collections.abc import Callable

import pytest

from common.jobs import ModelInfo
from common.ledger import Ledger
from tests.support.images import encoded, numbered
from tests.unit.web.client import Client

HTML = {"Accept": "text/html"}


def form(*images: bytes) -> dict[str, list[tuple[io.BytesIO, str]]]:
    return {"images": [(io.BytesIO(data), f"{number}.jpg") for number, data in enumerate(images)]}


class TestStartPage:
    def test_the_page_has_no_inline_script_or_style(self, client: Client) -> None:
        page = client.get("/").text

        assert not re.search(r"<script(?![^>]*\bsrc=)", page)
        assert "<style" not in page and not re.search(r"\s(style|on\w+)=", page)

    def test_recent_captions_are_rendered_and_escaped(
        self, client: Client, caption: Callable[[str, str], None]
    ) -> None:
        job_id = client.post("/v1/jobs", data={"image": (io.BytesIO(encoded()), "a.jpg")}).json["id"]
        caption(job_id, 'a ball <b>"red"</b> & round')

        assert "a ball &lt;b&gt;&#34;red&#34;&lt;/b&gt; &amp; round" in client.get("/").text

    def test_a_file_name_is_escaped(self, client: Client) -> None:
        client.post("/v1/jobs", data={"image": (io.BytesIO(encoded()), "<img src=x onerror=alert(1)>.jpg")})

        assert "<img src=x" not in client.get("/").text

    def test_the_notice_is_shown_for_the_demo_model(
        self, client: Client, announce: Callable[[ModelInfo], None]
    ) -> None:
        hidden_notice = re.compile(r'id="notice"\s+hidden')
        assert hidden_notice.search(client.get("/").text)

        announce(ModelInfo(name="demo", version="sha256:2", demo=True))

        assert not hidden_notice.search(client.get("/").text)
        assert "demo model is captioning" in client.get("/").text


class TestForm:
    def test_one_image_redirects_to_the_page_of_its_job(
        self, client: Client, caption: Callable[[str, str], None]
    ) -> None:
        sent = client.post("/", data=form(encoded()))

        assert sent.status_code == 303
        waiting = client.get(sent.location)
        assert waiting.headers["Refresh"] == "2"
        caption(sent.location.rsplit("/", 1)[1], "a red ball")
        done = client.get(sent.location)
        assert "a red ball" in done.text
        assert "Refresh" not in done.headers

    def test_several_images_redirect_to_the_page_of_their_batch(self, client: Client) -> None:
        sent = client.post("/", data=form(*numbered(2), b"text"))

        page = client.get(sent.location)

        assert "/batches/" in sent.location
        assert page.text.count('class="card"') == 3
        assert "Not a picture that can be read" in page.text

    def test_the_page_of_a_large_batch_says_how_many_are_not_shown(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("web.pages.MAX_SHOWN_JOBS", 2)
        sent = client.post("/", data=form(*numbered(3)))

        page = client.get(sent.location)

        assert page.text.count('class="card"') == 2
        assert "1 further photographs" in page.text
        assert page.headers["Refresh"] == "2"

    @pytest.mark.parametrize(("images", "words"), [((), "No picture was chosen"), ((b"text",), "Not a picture")])
    def test_an_invalid_form_gets_an_html_error(self, client: Client, images: tuple[bytes, ...], words: str) -> None:
        answer = client.post("/", data=form(*images), headers=HTML)

        assert 400 <= answer.status_code < 500
        assert answer.mimetype == "text/html"
        assert words in answer.text

    def test_an_expired_job_gets_an_html_error(self, client: Client, ledger: Ledger) -> None:
        sent = client.post("/", data=form(encoded()))
        ledger.delete(sent.location.rsplit("/", 1)[1])

        answer = client.get(sent.location, headers=HTML)

        assert (answer.status_code, answer.mimetype) == (410, "text/html")
