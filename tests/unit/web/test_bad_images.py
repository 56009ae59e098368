"""Invalid uploads are refused with a 4xx problem, and nothing is stored."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies

from tests.support.hostile import png
from tests.support.images import drawing, encoded
from tests.unit.web.client import Client


def submit(client: Client, data: bytes, name: str = "photo.jpg") -> tuple[int, dict[str, object]]:
    answer = client.post("/v1/jobs", data={"image": (io.BytesIO(data), name)})
    assert answer.json is not None
    return answer.status_code, answer.json


@pytest.mark.parametrize(
    ("data", "status", "slug"),
    [
        (b"just some text, whatever its name", 415, "unsupported-image"),
        (b"", 400, "empty-upload"),
        (encoded()[:2000], 422, "damaged-image"),
        (png(30_000, 30_000, zlib.compress(bytes(9000))), 413, "image-too-large"),
        (bytes(200_000), 413, "upload-too-large"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415, "unsupported-image"),
        (b"%PDF-1.7", 415, "unsupported-image"),
        (b"\xff\xd8\xff", 415, "unsupported-image"),
    ],
    ids=["text", "nothing", "truncated", "bomb", "too large", "svg", "pdf", "stub"],
)
def test_each_kind_of_invalid_upload_has_its_own_problem(
    client: Client, stored: Callable[[], list[Path]], data: bytes, status: int, slug: str
) -> None:
    actual, problem = submit(client, data)

    assert (actual, problem["type"], problem["status"]) == (status, f"/problems/{slug}", status)
    assert len(str(problem["detail"])) > 20
    assert stored() == []
    assert client.get("/v1/jobs").json == {"jobs": [], "next": None}


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({}, "multipart form field `image`"),
        ({"picture": (io.BytesIO(b"x"), "a.jpg")}, "The form has 'picture', but no `image`"),
        ({"picture": "a word"}, "The form has 'picture', but no `image`"),
    ],
    ids=["empty", "file in another field", "text in another field"],
)
def test_the_error_for_a_form_without_an_image_names_the_field(
    client: Client, form: dict[str, object], words: str
) -> None:
    answer = client.post("/v1/jobs", data=form, content_type="multipart/form-data")

    assert (answer.status_code, answer.json["type"]) == (400, "/problems/missing-image")
    assert words in answer.json["detail"]


def test_the_error_for_two_images_names_the_batches(client: Client) -> None:
    two = [(io.BytesIO(encoded()), "a.jpg"), (io.BytesIO(encoded()), "b.jpg")]

    answer = client.post("/v1/jobs", data={"image": two})

    assert answer.status_code == 400
    assert "/v1/batches" in answer.json["detail"]


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"--x\r\nno header", "multipart/form-data; boundary=x"),
        (b"no boundary", "multipart/form-data"),
        (b"--x\r\n" + b"A" * 100_000, "multipart/form-data; boundary=x"),
        (b'{"image": 1}', "application/json"),
    ],
)
def test_a_malformed_form_is_a_client_error(client: Client, body: bytes, content_type: str) -> None:
    answer = client.post("/v1/jobs", data=body, content_type=content_type)

    assert 400 <= answer.status_code < 500
    assert answer.mimetype == "application/problem+json"


FILES = [encoded(drawing(size=(96, 64)), format) for format in ("JPEG", "PNG", "GIF", "WEBP", "TIFF")]


@strategies.composite
def mutated(draw: strategies.DrawFn) -> bytes:
    """A valid image with some bytes replaced, deleted or inserted."""
    data = bytearray(draw(strategies.sampled_from(FILES)))
    for _ in range(draw(strategies.integers(1, 4))):
        position = draw(strategies.integers(0, len(data) - 1))
        data[position : position + draw(strategies.integers(0, 40))] = draw(strategies.binary(max_size=40))
        if not data:
            break
    return bytes(data)


@settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=strategies.one_of(strategies.binary(max_size=400), mutated()))
def test_no_upload_causes_a_server_error(client: Client, data: bytes) -> None:
    status, body = submit(client, data)

    if status == 202:
        assert client.get(f"/v1/jobs/{body['id']}/image").status_code == 200
    else:
        assert 400 <= status < 500
        assert str(body["type"]).startswith("/problems/") and body["detail"]
