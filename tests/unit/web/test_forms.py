"""What is sent under a picture's field is a picture, whatever its file name is; nothing is lost without a word."""

from __future__ import annotations

import json
from typing import Any

import pytest
from flask import Flask
from redis import Redis

from common.settings import Settings
from tests.support.forms import CONTENT_TYPE, END
from tests.support.images import encoded, numbered
from tests.unit.web.client import Client
from web import create_app


def part(disposition: bytes, data: bytes) -> bytes:
    """A part of a form with these parameters of its Content-Disposition, as raw bytes."""
    return b"--x\r\nContent-Disposition: form-data; " + disposition + b"\r\n\r\n" + data + b"\r\n"


def send(client: Client, path: str, *parts: bytes) -> Any:
    return client.post(path, data=b"".join(parts) + END, content_type=CONTENT_TYPE)


def filename(client: Client, disposition: bytes) -> str:
    """The name under which a picture is kept that is sent with this Content-Disposition."""
    answer = send(client, "/v1/jobs", part(b'name="image"; ' + disposition, encoded()))
    assert answer.status_code == 202, answer.text
    return str(answer.json["input"]["filename"])


WITHOUT_NAME = [b'name="images"', b'name="images"; filename=""', b"name=images"]


class TestWithoutAFileName:
    @pytest.mark.parametrize("disposition", WITHOUT_NAME)
    def test_a_picture_of_a_batch_is_counted_and_kept(self, client: Client, disposition: bytes) -> None:
        first, second, third = numbered(3)
        named = b'name="images"; filename="a.jpg"'

        batch = send(client, "/v1/batches", part(named, first), part(disposition, second), part(named, third)).json

        lines = [json.loads(line) for line in client.get(batch["urls"]["results"]).text.splitlines()]
        assert batch["request_counts"].items() >= {"total": 3, "queued": 3}.items()
        assert [line["custom_id"] for line in lines] == ["a.jpg", "picture", "a.jpg"]

    @pytest.mark.parametrize("disposition", WITHOUT_NAME)
    def test_a_picture_of_the_page_s_form_is_captioned(self, client: Client, disposition: bytes) -> None:
        answer = send(client, "/", part(disposition, encoded()))

        assert (answer.status_code, answer.location[:6]) == (303, "/jobs/")

    def test_a_picture_may_be_as_long_as_with_one(self, settings: Settings, redis: Redis) -> None:
        client: Client = create_app(settings.model_copy(update={"max_upload_bytes": 10**6}), redis=redis).test_client()

        answer = send(client, "/v1/jobs", part(b'name="image"', encoded() + bytes(790_000)))

        assert (answer.status_code, answer.json["input"]["filename"]) == (202, "picture")

    def test_a_picture_without_bytes_is_an_empty_upload(self, client: Client) -> None:
        answer = send(client, "/v1/jobs", part(b'name="image"', b""))

        assert (answer.status_code, answer.json["type"]) == (400, "/problems/empty-upload")

    @pytest.mark.parametrize(("path", "field"), [("/v1/jobs", b"image"), ("/v1/batches", b"images"), ("/", b"images")])
    def test_the_empty_part_of_a_browser_in_which_no_file_was_chosen_is_no_picture(
        self, client: Client, path: str, field: bytes
    ) -> None:
        answer = send(client, path, part(b'name="' + field + b'"; filename=""', b""))

        assert (answer.status_code, answer.json["type"]) == (400, "/problems/missing-image")

    def test_a_field_in_which_no_file_was_chosen_is_left_out_of_a_batch(self, client: Client) -> None:
        picture = part(b'name="images"; filename="a.jpg"', encoded())

        batch = send(client, "/v1/batches", picture, part(b'name="images"; filename=""', b"")).json

        assert batch["request_counts"]["total"] == 1


class TestFileNames:
    @pytest.mark.parametrize(
        ("disposition", "kept"),
        [
            ('filename="naïve.jpg"'.encode(), "naïve.jpg"),
            ('filename="naïve.jpg"'.encode("latin-1"), "naïve.jpg"),
            (b"filename*=UTF-8''na%C3%AFve.jpg", "naïve.jpg"),
            (b"filename*=ISO-8859-1''na%EFve.jpg", "naïve.jpg"),
            (b"filename=\"naive.jpg\"; filename*=UTF-8''na%C3%AFve.jpg", "naïve.jpg"),
            (b'filename*0="na"; filename*1*=UTF-8\'\'%C3%AFve; filename*2=".jpg"', "naïve.jpg"),
        ],
        ids=["UTF-8", "Latin-1", "RFC 5987", "RFC 5987 in Latin-1", "both", "RFC 2231 continued"],
    )
    def test_one_in_any_encoding_is_kept(self, client: Client, disposition: bytes, kept: str) -> None:
        assert filename(client, disposition) == kept

    @pytest.mark.parametrize("name", ["写真.jpg", "表", "ソ.jpg"])
    def test_one_in_an_encoding_that_nothing_names_keeps_its_picture(self, client: Client, name: str) -> None:
        shown = filename(client, b'filename="' + name.encode("shift-jis") + b'"')

        assert shown.isprintable()

    def test_of_a_batch_one_in_latin_1_costs_no_picture(self, client: Client) -> None:
        parts = [part(b'name="images"; filename="%s"' % name, encoded()) for name in (b"a.jpg", b"na\xefve.jpg")]

        answer = send(client, "/v1/batches", *parts)

        lines = [json.loads(line) for line in client.get(answer.json["urls"]["results"]).text.splitlines()]
        assert [line["custom_id"] for line in lines] == ["a.jpg", "naïve.jpg"]

    @pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
    def test_a_custom_id_is_read_like_one(self, client: Client, encoding: str) -> None:
        picture = part(b'name="images"; filename="a.jpg"', encoded())

        batch = send(client, "/v1/batches", picture, part(b'name="custom_id"', "naïve".encode(encoding))).json

        assert json.loads(client.get(batch["urls"]["results"]).text)["custom_id"] == "naïve"

    @pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
    def test_one_in_a_header_beside_the_bytes_is_read_likewise(self, client: Client, encoding: str) -> None:
        headers = {"X-Filename": "naïve.jpg".encode(encoding).decode("latin-1")}  # as WSGI has it

        answer = client.post("/v1/jobs", data=encoded(), content_type="image/jpeg", headers=headers)

        assert answer.json["input"]["filename"] == "naïve.jpg"


class TestRefusals:
    @pytest.mark.parametrize(
        ("body", "content_type"),
        [
            (part(b'name="image"', b"")[:-10], CONTENT_TYPE),
            (b"--x\r\n\r\nno header\r\n" + END, CONTENT_TYPE),
            (b"--x\r\nContent-Disposition: " + b"a" * 10**6 + END, CONTENT_TYPE),
            (part(b'name="image"', b"") + END, "multipart/form-data"),
            (part(b'name="image"', b"") + END, "multipart/form-data; boundary=y"),
        ],
        ids=["cut off", "a part without header", "a header without end", "no boundary", "another boundary"],
    )
    def test_a_form_that_cannot_be_read_is_called_that_and_not_a_form_without_a_picture(
        self, app: Flask, body: bytes, content_type: str
    ) -> None:
        app.config["MAX_CONTENT_LENGTH"] = 2 * 10**6

        client: Client = app.test_client()
        answer = client.post("/v1/jobs", data=body, content_type=content_type)

        assert (answer.status_code, answer.json["type"]) == (400, "/problems/bad-request")
        assert "form" in answer.json["detail"]

    def test_a_long_text_under_another_field_is_told_the_picture_s_field(self, app: Flask) -> None:
        app.config["MAX_CONTENT_LENGTH"] = 2 * 10**6

        answer = send(app.test_client(), "/v1/jobs", part(b'name="photo"', bytes(600_000)))

        assert (answer.status_code, answer.json["type"]) == (413, "/problems/upload-too-large")
        assert "'photo'" in answer.json["detail"] and "`image`" in answer.json["detail"]

    def test_a_picture_under_another_field_is_told_both_names(self, client: Client) -> None:
        answer = send(client, "/v1/jobs", part(b'name="photo"', b"a"), part(b'name="file"; filename="a.jpg"', b"a"))

        assert answer.json["detail"].endswith("There is 'file', 'photo', but no `image`.")

    def test_more_parts_than_a_request_may_have_are_called_too_many(self, client: Client) -> None:
        answer = send(client, "/v1/batches", *[part(b'name="images"', b"a")] * 10)

        assert (answer.status_code, answer.json["type"]) == (413, "/problems/too-many-images")
        assert "more than 9 parts" in answer.json["detail"]
