"""Caption options of a request: read from a form, a query or a JSON body, and kept with the job."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from redis import Redis

from common.jobs import ModelInfo
from common.ledger import Ledger
from common.settings import Settings
from tests.support.images import encoded, numbered
from tests.support.receiver import running_receiver, with_status
from tests.unit.web.client import MODEL, Client
from web import create_app

OPTIONS = {"template": "a photo of {caption}", "beams": 8, "captions": 6}


def send(client: Client, **fields: Any) -> Any:
    """Post an image as a multipart form."""
    return client.post("/v1/jobs", data={"image": (io.BytesIO(encoded()), "ball.jpg"), **fields})


def send_batch(client: Client, images: list[bytes], **fields: Any) -> Any:
    files = [(io.BytesIO(data), f"{number}.jpg") for number, data in enumerate(images)]
    return client.post("/v1/batches", data={"images": files, **fields})


class TestSources:
    def test_a_form_has_them_as_a_text_field(self, client: Client, ledger: Ledger) -> None:
        answer = send(client, options=json.dumps(OPTIONS))

        assert (answer.status_code, answer.json["options"]) == (202, OPTIONS)
        assert client.get(answer.json["urls"]["self"]).json["options"] == OPTIONS

    @pytest.mark.parametrize("mimetype", ["image/jpeg", "application/octet-stream"])
    def test_raw_bytes_have_them_in_the_query(self, client: Client, mimetype: str) -> None:
        query = {"options": json.dumps(OPTIONS)}

        answer = client.post("/v1/jobs", query_string=query, data=encoded(), content_type=mimetype)

        assert (answer.status_code, answer.json["options"]) == (202, OPTIONS)

    def test_a_json_body_has_them_as_a_member(self, settings: Settings, redis: Redis) -> None:
        fetching = settings.model_copy(update={"fetch_urls": True, "allow_local_urls": True})
        client = create_app(fetching, redis=redis).test_client()
        with running_receiver(with_status(200, encoded())) as server:
            answer = client.post("/v1/jobs", json={"url": server.url(), "options": OPTIONS})

        assert (answer.status_code, answer.get_json()["options"]) == (202, OPTIONS)

    def test_a_batch_applies_them_to_all_its_images(self, client: Client, ledger: Ledger) -> None:
        images = [*numbered(2), b"no image"]

        assert send_batch(client, images, options=json.dumps(OPTIONS)).status_code == 202

        jobs, _ = ledger.recent()
        assert [job.body()["options"] for job in jobs] == [OPTIONS] * 3

    def test_a_full_batch_with_custom_ids_may_have_options(self, client: Client, settings: Settings) -> None:
        count = settings.max_batch_items
        ids = [str(number) for number in range(count)]

        answer = send_batch(client, numbered(count), custom_id=ids, options=json.dumps(OPTIONS))

        assert (answer.status_code, answer.json["request_counts"]["total"]) == (202, count)

    @pytest.mark.parametrize("text", ["{}", "null", '{"beams": null}'])
    def test_empty_options_are_none(self, client: Client, text: str) -> None:
        answer = send(client, options=text)

        assert (answer.status_code, answer.json["options"]) == (202, None)


class TestRefusals:
    @pytest.mark.parametrize("text", ["", "{", "beams=8", "[" * 10_000, '"{}"', "[]", "NaN", "1" * 10_000])
    def test_anything_but_a_json_object_is_refused(self, client: Client, ledger: Ledger, text: str) -> None:
        answer = send(client, options=text)

        assert (answer.status_code, answer.json["type"]) == (400, "/problems/bad-request")
        assert answer.json["detail"] == '`options` must be a JSON object, such as {"beams": 8}.'
        assert ledger.recent() == ([], None)

    @pytest.mark.parametrize("options", [{"beams": 99}, {"beams": "8"}, {"beams": float("nan")}])
    def test_a_wrong_value_is_refused_everywhere(self, client: Client, ledger: Ledger, options: Any) -> None:
        text = json.dumps(options)
        answers = [
            send(client, options=text),
            send_batch(client, numbered(1), options=text),
            client.post("/v1/jobs", query_string={"options": text}, data=encoded(), content_type="image/jpeg"),
        ]

        for answer in answers:
            assert (answer.status_code, answer.json["type"]) == (400, "/problems/bad-request")
            assert answer.json["detail"] == "`options.beams` must be a whole number from 1 to 10."
        assert ledger.recent() == ([], None)

    def test_a_wrong_value_in_a_json_body_is_refused(self, client: Client) -> None:
        answer = client.post("/v1/jobs", json={"url": "https://example.com/a.jpg", "options": {"beams": 99}})

        assert (answer.status_code, answer.json["detail"]) == (
            400,
            "`options.beams` must be a whole number from 1 to 10.",
        )

    def test_the_service_s_own_settings_count(self, settings: Settings, redis: Redis) -> None:
        client: Client = create_app(settings.model_copy(update={"min_length": 12}), redis=redis).test_client()

        answer = send(client, options='{"max_length": 8}')

        assert answer.status_code == 400
        assert answer.json["detail"].startswith("The captions would need at least 12 and at most 8 tokens.")

    @pytest.mark.parametrize("options", [{"instruction": "Name it."}, {"language": "de"}])
    def test_instructions_are_refused_for_a_model_that_takes_none(
        self, client: Client, announce: Callable[[ModelInfo], object], options: dict[str, str]
    ) -> None:
        announce(MODEL)

        answer = send(client, options=json.dumps(options))

        assert (answer.status_code, answer.json["detail"]) == (
            400,
            "The model student_epoch6 takes no instructions. Leave out `options.instruction` and `options.language`.",
        )

    @pytest.mark.parametrize("model", [None, ModelInfo(name="vlm", version="1", instructions=True)])
    def test_instructions_are_accepted_for_a_model_that_takes_them_or_is_not_known(
        self, client: Client, announce: Callable[[ModelInfo], object], model: ModelInfo | None
    ) -> None:
        if model:
            announce(model)

        answer = send(client, options='{"instruction": "Name it.", "language": "de"}')

        assert (answer.status_code, answer.json["options"]) == (202, {"instruction": "Name it.", "language": "de"})

    def test_several_options_are_refused(self, client: Client) -> None:
        image = (io.BytesIO(encoded()), "ball.jpg")
        form = {"image": image, "options": '{"beams": 2}'}

        answer = client.post("/v1/jobs", query_string={"options": '{"beams": 3}'}, data=form)

        assert (answer.status_code, answer.json["detail"]) == (
            400,
            "The request has several `options`. Send one JSON object.",
        )

    def test_a_file_with_options_is_refused(self, client: Client) -> None:
        answer = send(client, options=(io.BytesIO(b'{"beams": 2}'), "options.json"))

        assert answer.status_code == 400
        assert answer.json["detail"] == "Send `options` as a text field of the form, without a file name."

    @pytest.mark.parametrize(
        "ask",
        [
            lambda client, name: send(client, options=json.dumps({name: 1})),
            lambda client, name: send(client, options=json.dumps({"model": name})),
            lambda client, name: client.post("/v1/jobs", data={name: "1"}),
            lambda client, name: client.get("/v1/jobs", query_string={"status": name}),
            lambda client, name: client.post("/openai/v1/chat/completions", json={"model": name}),
        ],
        ids=["option", "model", "field", "status", "model in another protocol"],
    )
    def test_a_long_name_is_shortened_in_the_same_way_everywhere(
        self, client: Client, announce: Callable[[ModelInfo], object], ask: Callable[[Client, str], Any]
    ) -> None:
        announce(MODEL)

        assert f" {'x' * 60!r}" in ask(client, "x" * 61).text

    def test_a_deeply_nested_json_body_is_refused(self, client: Client) -> None:
        answer = client.post("/v1/jobs", data="[" * 10_000, content_type="application/json")

        assert (answer.status_code, answer.json["type"]) == (400, "/problems/bad-request")


class TestCache:
    def test_a_cached_caption_gets_the_template_of_the_new_job(
        self, client: Client, caption: Callable[[str, str], None], announce: Callable[..., None]
    ) -> None:
        announce(MODEL)
        caption(send(client, options='{"template": "sks, {caption}"}').json["id"], "a red ball")

        answers = [send(client), send(client, options='{"template": "{caption}!"}')]

        assert [(each.status_code, each.json["output"]["caption"]) for each in answers] == [
            (201, "a red ball"),
            (201, "a red ball!"),
        ]

    def test_another_search_is_captioned_anew(
        self, client: Client, caption: Callable[[str, str], None], announce: Callable[..., None]
    ) -> None:
        announce(MODEL)
        caption(send(client).json["id"], "a red ball")

        assert send(client, options='{"max_length": 8}').status_code == 202
        assert send(client, options='{"beams": 5}').status_code == 201  # as in the settings

    def test_an_idempotency_key_with_other_options_is_a_conflict(self, client: Client) -> None:
        def submit(options: str) -> Any:
            return client.post(
                "/v1/jobs",
                query_string={"options": options},
                data=encoded(),
                content_type="image/jpeg",
                headers={"Idempotency-Key": "k"},
            )

        first, again, other = submit('{"beams": 2}'), submit('{"beams": 2}'), submit('{"beams": 3}')

        assert first.json["id"] == again.json["id"]
        assert (other.status_code, other.json["type"]) == (422, "/problems/idempotency-conflict")
        assert "other options" in other.json["detail"]
