"""Multipart forms: any file name or none, any encoding, and errors for malformed forms."""

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
    """A part of a form; `disposition` is the raw parameters of its Content-Disposition."""
    return b"--x\r\nContent-Disposition: form-data; " + disposition + b"\r\n\r\n" + data + b"\r\n"


def send(client: Client, path: str, *parts: bytes) -> Any:
    return client.post(path, data=b"".join(parts) + END, content_type=CONTENT_TYPE)


def filename(client: Client, disposition: bytes) -> str:
    """The stored file name of an image that is sent with this Content-Disposition."""
    answer = send(client, "/v1/jobs", part(b'name="image"; ' + disposition, encoded()))
    assert answer.status_code == 202, answer.text
    return str(answer.json["input"]["filename"])


WITHOUT_NAME = [b'name="images"', b'name="images"; filename=""', b"name=images"]


class TestMissingFileName:
    @pytest.mark.parametrize("disposition", WITHOUT_NAME)
    def test_an_image_of_a_batch_is_accepted(self, client: Client, disposition: bytes) -> None:
        first, second, third = numbered(3)
        named = b'name="images"; filename="a.jpg"'

        batch = send(client, "/v1/batches", part(named, first), part(disposition, second), part(named, third)).json

        lines = [json.loads(line) for line in client.get(batch["urls"]["results"]).text.splitlines()]
        assert batch["request_counts"].items() >= {"total": 3, "queued": 3}.items()
        assert [line["custom_id"] for line in lines] == ["a.jpg", "picture", "a.jpg"]

    @pytest.mark.parametrize("disposition", WITHOUT_NAME)
    def test_an_image_of_the_page_s_form_is_accepted(self, client: Client, disposition: bytes) -> None:
        answer = send(client, "/", part(disposition, encoded()))

        assert (answer.status_code, answer.location[:6]) == (303, "/jobs/")

    def test_the_size_limit_is_that_of_an_image_not_of_text(self, settings: Settings, redis: Redis) -> None:
        client: Client = create_app(settings.model_copy(update={"max_upload_bytes": 10**6}), redis=redis).test_client()

        answer = send(client, "/v1/jobs", part(b'name="image"', encoded() + bytes(790_000)))

        assert (answer.status_code, answer.json["input"]["filename"]) == (202, "picture")

    def test_an_image_without_bytes_is_an_empty_upload(self, client: Client) -> None:
        answer = send(client, "/v1/jobs", part(b'name="image"', b""))

        assert (answer.status_code, answer.json["type"]) == (400, "/problems/empty-upload")

    @pytest.mark.parametrize(("path", "field"), [("/v1/jobs", b"image"), ("/v1/batches", b"images"), ("/", b"images")])
    def test_an_empty_file_field_is_a_missing_image(self, client: Client, path: str, field: bytes) -> None:
        answer = send(client, path, part(b'name="' + field + b'"; filename=""', b""))

        assert (answer.status_code, answer.json["type"]) == (400, "/problems/missing-image")

    def test_an_empty_file_field_is_left_out_of_a_batch(self, client: Client) -> None:
        image = part(b'name="images"; filename="a.jpg"', encoded())

        batch = send(client, "/v1/batches", image, part(b'name="images"; filename=""', b"")).json

        assert batch["request_counts"]["total"] == 1


class TestFileNames:
    @pytest.mark.parametrize(
        ("disposition", "expected"),
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
    def test_a_file_name_is_decoded(self, client: Client, disposition: bytes, expected: str) -> None:
        assert filename(client, disposition) == expected

    @pytest.mark.parametrize("name", ["写真.jpg", "表", "ソ.jpg"])
    def test_a_file_name_in_an_unknown_encoding_is_printable(self, client: Client, name: str) -> None:
        decoded = filename(client, b'filename="' + name.encode("shift-jis") + b'"')

        assert decoded.isprintable()

    def test_a_latin_1_file_name_in_a_batch_is_decoded(self, client: Client) -> None:
        parts = [part(b'name="images"; filename="%s"' % name, encoded()) for name in (b"a.jpg", b"na\xefve.jpg")]

        answer = send(client, "/v1/batches", *parts)

        lines = [json.loads(line) for line in client.get(answer.json["urls"]["results"]).text.splitlines()]
        assert [line["custom_id"] for line in lines] == ["a.jpg", "naïve.jpg"]

    @pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
    def test_a_custom_id_is_decoded_like_a_file_name(self, client: Client, encoding: str) -> None:
        image = part(b'name="images"; filename="a.jpg"', encoded())

        batch = send(client, "/v1/batches", image, part(b'name="custom_id"', "naïve".encode(encoding))).json

        assert json.loads(client.get(batch["urls"]["results"]).text)["custom_id"] == "naïve"

    @pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
    def test_the_x_filename_header_is_decoded_like_a_file_name(self, client: Client, encoding: str) -> None:
        headers = {"X-Filename": "naïve.jpg".encode(encoding).decode("latin-1")}  # WSGI decodes headers as Latin-1

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
        ids=["truncated", "part without header", "endless header", "no boundary", "wrong boundary"],
    )
    def test_a_malformed_form_is_a_bad_request_and_not_a_missing_image(
        self, app: Flask, body: bytes, content_type: str
    ) -> None:
        app.config["MAX_CONTENT_LENGTH"] = 2 * 10**6

        client: Client = app.test_client()
        answer = client.post("/v1/jobs", data=body, content_type=content_type)

        assert (answer.status_code, answer.json["type"]) == (400, "/problems/bad-request")
        assert "form" in answer.json["detail"]

    def test_the_error_for_a_long_text_names_the_image_field(self, app: Flask) -> None:
        app.config["MAX_CONTENT_LENGTH"] = 2 * 10**6

        answer = send(app.test_client(), "/v1/jobs", part(b'name="photo"', bytes(600_000)))

        assert (answer.status_code, answer.json["type"]) == (413, "/problems/upload-too-large")
        assert "'photo'" in answer.json["detail"] and "`image`" in answer.json["detail"]

    def test_the_error_for_an_image_in_another_field_names_both_fields(self, client: Client) -> None:
        answer = send(client, "/v1/jobs", part(b'name="photo"', b"a"), part(b'name="file"; filename="a.jpg"', b"a"))

        assert answer.json["detail"].endswith("The form has 'file', 'photo', but no `image`.")

    def test_too_many_parts_are_too_many_images(self, client: Client) -> None:
        answer = send(client, "/v1/batches", *[part(b'name="images"', b"a")] * 11)

        assert (answer.status_code, answer.json["type"]) == (413, "/problems/too-many-images")
        assert "more than 10 parts" in answer.json["detail"]
