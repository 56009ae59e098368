"""The HTML pages and their form, as a browser without JavaScript uses them."""

from __future__ import annotations

import io
import re
from collections.abc import Callable

import pytest

from common.exports import FORMATS
from common.jobs import ModelInfo, Output, Timings, Translation
from common.ledger import Ledger
from tests.support.claims import claim_job, commit
from tests.support.images import encoded, numbered
from tests.unit.web.client import MODEL, Client
from web import pages
from web.pages import BATCHES

HTML = {"Accept": "text/html"}
#: What makes browsers without scripts reload the page of an unfinished job.
RELOAD = '<noscript><meta http-equiv="refresh" content="2"></noscript>'


def form(*images: bytes) -> dict[str, list[tuple[io.BytesIO, str]]]:
    return {"images": [(io.BytesIO(data), f"{number}.jpg") for number, data in enumerate(images)]}


class TestStartPage:
    def test_the_page_has_no_inline_script_or_style(self, client: Client) -> None:
        page = client.get("/").text

        assert not re.search(r"<script(?![^>]*\bsrc=)", page)
        assert "<style" not in page and not re.search(r"\s(style|on\w+)=", page)

    def test_the_file_dialog_offers_all_formats(self, client: Client) -> None:
        accepted = re.search(r'id="images" name="images" type="file" accept="([^"]*)"', client.get("/").text)

        assert accepted and {"image/*", ".heic", ".avif", ".cr3", ".dng", ".zip"} <= set(accepted[1].split(","))

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
        assert "small demo model" in client.get("/").text

    def test_the_history_lists_batches_with_their_names_and_failures(self, client: Client) -> None:
        named = client.post("/v1/batches", json={"name": "Holidays & more"}).json
        client.post(named["urls"]["items"], data={"image": (io.BytesIO(encoded()), "a.jpg")})
        client.post("/v1/batches", data=form(*numbered(2), b"text"))

        page = client.get("/").text

        assert "Holidays &amp; more" in page
        assert "3 pictures · captioning · 1 failed" in " ".join(page.split())
        assert page.count('class="batch"') == 2
        assert 'class="card"' not in page

    def test_earlier_batches_are_on_further_pages(self, client: Client) -> None:
        for number in range(BATCHES + 1):
            client.post("/v1/batches", json={"name": f"batch number {number}."})

        first = client.get("/").text
        link = re.search(r'href="(\?cursor=[^"]+)"', first)
        assert link
        second = client.get(f"/{link[1]}").text

        assert "batch number 0." not in first and f"batch number {BATCHES}." in first
        assert "batch number 0." in second and f"batch number {BATCHES}." not in second
        assert client.get("/?cursor=other", headers=HTML).status_code == 400


class TestBatchPage:
    def test_it_lists_the_pictures_by_name_and_the_formats(self, client: Client) -> None:
        batch = client.post("/v1/batches", json={"name": "Holidays"}).json
        for name, data in zip(("10.jpg", "9.jpg", "a/1.jpg"), numbered(3), strict=True):
            client.post(batch["urls"]["items"], data={"image": (io.BytesIO(data), name), "custom_id": name})

        page = client.get(f"/batches/{batch['id']}").text

        assert re.findall(r"<p class=\"file\"><span>([^<]+)", page) == ["9.jpg", "10.jpg", "a/1.jpg"]
        assert set(re.findall(r'data-format="([^"]+)"', page)) == set(FORMATS)
        assert not re.search(r"<script(?![^>]*\bsrc=)", page) and not re.search(r"\s(style|on\w+)=", page)

    def test_further_pictures_are_on_further_pages(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pages, "PAGE_SIZE", 2)
        sent = client.post("/", data=form(*numbered(3)))

        first = client.get(sent.location).text
        link = re.search(r'href="(\?cursor=[^"]+)"', first)
        assert link
        second = client.get(sent.location + link[1]).text

        assert (first.count('class="card"'), second.count('class="card"')) == (2, 1)


class TestJobPage:
    def test_it_shows_captions_measurements_and_what_a_person_wrote(
        self, client: Client, caption: Callable[[str, str], None]
    ) -> None:
        job_id = client.post("/v1/jobs", data={"image": (io.BytesIO(encoded()), "a.jpg")}).json["id"]
        caption(job_id, "a red ball")
        client.patch(f"/v1/jobs/{job_id}", json={"caption": "my ball"})

        page = " ".join(client.get(f"/jobs/{job_id}").text.split())

        assert '<h1 class="caption">my ball</h1>' in page
        assert "The model said:</span> a red ball" in page
        assert "320 x 240 pixels, JPEG" in page
        assert "<dt>Captioned in</dt><dd>0.2 s</dd>" in page
        assert not re.search(r"<script(?![^>]*\bsrc=)", page) and not re.search(r"\s(style|on\w+)=", page)

    def test_a_failed_job_says_why(self, client: Client) -> None:
        sent = client.post("/", data=form(*numbered(1), b"text"))
        job = client.get(f"/v1{sent.location}/jobs?status=failed").json["jobs"][0]

        assert "<h1>Not a picture" in client.get(f"/jobs/{job['id']}").text


class TestForm:
    def test_one_image_redirects_to_the_page_of_its_job(
        self, client: Client, caption: Callable[[str, str], None]
    ) -> None:
        sent = client.post("/", data=form(encoded()))

        assert sent.status_code == 303
        waiting = client.get(sent.location)
        assert RELOAD in waiting.text
        caption(sent.location.rsplit("/", 1)[1], "a red ball")
        done = client.get(sent.location)
        assert "a red ball" in done.text
        assert RELOAD not in done.text

    def test_several_images_redirect_to_the_page_of_their_batch(self, client: Client) -> None:
        sent = client.post("/", data=form(*numbered(2), b"text"))

        page = client.get(sent.location)

        assert "/batches/" in sent.location
        assert page.text.count('class="card"') == 3
        assert "Not a picture that can be read" in page.text

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


def test_a_translation_is_below_its_caption_until_a_person_writes_another(client: Client, ledger: Ledger) -> None:
    batch = client.post("/v1/batches", data={"images": [(io.BytesIO(encoded()), "a.jpg")]}).json
    job = client.get(batch["urls"]["jobs"]).json["jobs"][0]
    claim = claim_job(ledger, job["id"])
    assert claim
    output = Output(caption="a dog", translated=Translation(language="ru", caption="собака"))
    timings = Timings(queue_seconds=0.1, model_seconds=0.2, batch_size=1)
    commit(ledger, claim, output, model=MODEL, timings=timings)
    shown = re.compile(r'a dog</(?:p|h1)>\s*<p class="translated" lang="ru"[^>]*>собака</p>')

    for path in (f"/jobs/{job['id']}", f"/batches/{batch['id']}"):
        assert shown.search(client.get(path).text)
    client.patch(job["urls"]["self"], json={"caption": "my dog"})
    for path in (f"/jobs/{job['id']}", f"/batches/{batch['id']}"):
        assert "собака" not in client.get(path).text
