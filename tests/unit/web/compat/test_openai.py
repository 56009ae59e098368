"""OpenAI's chat completions: requests in all forms that clients send, and answers in OpenAI's shape."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from redis import Redis

from common.jobs import Alternative, ModelInfo, Output, Timings
from common.ledger import Components, Ledger, Worker
from common.settings import Settings
from tests.support.claims import claim_job, commit
from tests.support.contract import assert_valid_response
from tests.support.images import encoded, numbered
from tests.unit.web.client import MODEL, Client
from tests.unit.web.compat.requests import in_base64
from web import create_app

PATH = "/openai/v1/chat/completions"
VLM = ModelInfo(name="gemma3:4b", version="sha256:2a", instructions=True)


def picture(data: bytes | None = None) -> dict[str, Any]:
    """A picture as a part of a message."""
    return {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{in_base64(data)}"}}


def text(words: str) -> dict[str, str]:
    return {"type": "text", "text": words}


def ask(client: Client, *parts: dict[str, Any], **members: Any) -> Any:
    """Send one message with these parts; returns the response."""
    message = {"role": "user", "content": list(parts) or [text("Describe this."), picture()]}
    return client.post(PATH, json={"model": "captiond", "messages": [message], **members})


def options(client: Client) -> Any:
    """The options of the latest job."""
    return client.get("/v1/jobs").json["jobs"][0]["options"]


@pytest.mark.usefixtures("worker")
class TestAnswer:
    def test_the_caption_is_the_assistant_s_message(self, client: Client) -> None:
        answer = ask(client)

        assert_valid_response(answer)
        job = client.get("/v1/jobs").json["jobs"][0]
        assert answer.json["id"] == f"chatcmpl-{job['id']}"
        assert answer.json["model"] == MODEL.name
        assert answer.json["choices"] == [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "a red ball", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ]
        assert answer.json["usage"] == {"prompt_tokens": 0, "completion_tokens": 3, "total_tokens": 3}

    def test_a_stream_has_the_caption_in_one_piece_then_its_end(self, client: Client) -> None:
        answer = ask(client, stream=True, stream_options={"include_usage": True})

        assert answer.mimetype == "text/event-stream"
        *events, done = answer.text.removesuffix("\n\n").split("\n\n")
        chunks = [json.loads(event.removeprefix("data: ")) for event in events]
        assert done == "data: [DONE]"
        assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
        assert [chunk["choices"] for chunk in chunks] == [
            [
                {
                    "index": 0,
                    "delta": {"role": "assistant", "content": "a red ball"},
                    "logprobs": None,
                    "finish_reason": None,
                }
            ],
            [{"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}],
            [],
        ]
        assert chunks[-1]["usage"]["completion_tokens"] == 3

    def test_several_frames_of_an_event_give_one_line_for_each_different_caption(self, client: Client) -> None:
        answer = ask(client, *map(picture, numbered(3)))

        assert answer.json["choices"][0]["message"]["content"] == "a red ball"
        assert len(client.get("/v1/jobs").json["jobs"]) == 3


class TestRequest:
    @pytest.mark.usefixtures("worker")
    @pytest.mark.parametrize(
        "content",
        [
            [picture()],
            [{"type": "image_url", "image_url": picture()["image_url"]["url"]}],
            [picture(), {"type": "input_audio", "input_audio": {}}, {"type": "text"}],
        ],
        ids=["no text", "URL without an object", "other parts"],
    )
    def test_other_forms_of_a_message_are_accepted(self, client: Client, content: list[dict[str, Any]]) -> None:
        assert ask(client, *content).status_code == 200

    @pytest.mark.usefixtures("worker")
    def test_the_last_pictures_of_a_chat_are_captioned(self, client: Client) -> None:
        first, second = numbered(2)
        messages = [
            {"role": "user", "content": [picture(first)]},
            {"role": "assistant", "content": "a blue ball"},
            {"role": "user", "content": [picture(second)]},
            {"role": "assistant", "content": "a red ball"},
            {"role": "user", "content": "Are you sure?"},
        ]

        client.post(PATH, json={"messages": messages})

        (job,) = client.get("/v1/jobs").json["jobs"]
        assert job["input"]["bytes"] == len(second)

    @pytest.mark.parametrize(
        ("members", "said"),
        [
            ({"messages": None}, "has no picture"),
            ({"messages": "x"}, "must be a list"),
            ({"messages": ["x"]}, "must be a list of messages"),
            ({"messages": [{"role": "user", "content": 7}]}, "must be a list of messages"),
            ({"messages": [{"role": "user", "content": ["x"]}]}, "must be a list of messages"),
            ({"messages": [{"role": "user", "content": "What is the capital of France?"}]}, "pictures only"),
            ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "must be text"),
            *(({"n": n}, "from 1 to 10") for n in (0, -1, 11, 10**9, 1.5, "2", True)),
        ],
    )
    def test_an_invalid_request_is_refused_with_a_sentence(
        self, client: Client, members: dict[str, Any], said: str
    ) -> None:
        answer = ask(client, **members)

        assert answer.status_code == 400
        assert answer.json["error"]["type"] == "invalid_request_error"
        assert said in answer.json["error"]["message"]

    def test_thousands_of_pictures_are_refused_before_one_is_decoded(self, client: Client) -> None:
        answer = ask(client, *[{"type": "image_url", "image_url": "AAAA"}] * 2000)

        assert (answer.status_code, answer.json["error"]["code"]) == (413, "too-many-images")


class TestSeveralCaptions:
    def test_n_captions_are_the_best_and_its_alternatives(
        self, client: Client, announce: Callable[..., None], ledger: Ledger, no_wait: None
    ) -> None:
        announce(MODEL)
        ask(client, picture(), n=2)
        claim = claim_job(ledger, client.get("/v1/jobs").json["jobs"][0]["id"])
        assert claim is not None
        output = Output(caption="a ball", alternatives=(Alternative(caption="a toy"), Alternative(caption="a bead")))
        timings = Timings(queue_seconds=0, model_seconds=0, batch_size=1)
        commit(ledger, claim, output, model=MODEL, timings=timings)

        answers = [ask(client, picture(), n=n).json["choices"] for n in (1, 2, 3)]

        assert [[choice["message"]["content"] for choice in choices] for choices in answers] == [
            ["a ball"],
            ["a ball", "a toy"],
            ["a ball", "a toy", "a bead"],
        ]

    @pytest.mark.usefixtures("no_wait")
    @pytest.mark.parametrize(
        ("n", "expected"), [(3, None), (4, {"captions": 4, "beams": 5}), (10, {"captions": 10, "beams": 10})]
    )
    def test_more_captions_than_usual_need_options(
        self, client: Client, announce: Callable[..., None], n: int, expected: object
    ) -> None:
        announce(MODEL)

        ask(client, n=n)

        assert options(client) == expected


@pytest.mark.usefixtures("no_wait")
class TestPrompt:
    MESSAGES = (
        {"role": "developer", "content": "You write alt texts."},
        {"role": "user", "content": [text("Name the animals."), picture()]},
    )

    def test_a_model_without_instructions_is_given_none(self, client: Client, announce: Callable[..., None]) -> None:
        announce(MODEL)

        client.post(PATH, json={"messages": self.MESSAGES})

        assert options(client) is None

    def test_a_model_with_instructions_is_told_the_system_s_and_the_user_s_text(
        self, client: Client, announce: Callable[..., None]
    ) -> None:
        announce(VLM)

        client.post(PATH, json={"messages": self.MESSAGES})

        assert options(client) == {"instruction": "You write alt texts.\nName the animals."}

    @pytest.mark.parametrize("models", [(), (VLM, MODEL)], ids=["no worker", "another model, too"])
    def test_a_job_that_another_model_may_claim_has_no_instruction_because_it_would_fail(
        self, client: Client, components: Components, models: tuple[ModelInfo, ...]
    ) -> None:
        for model in models:
            components.workers.announce(Worker(name=model.name, model=model))

        client.post(PATH, json={"messages": self.MESSAGES})

        assert options(client) is None

    def test_a_prompt_that_is_too_long_is_refused(self, client: Client, announce: Callable[..., None]) -> None:
        announce(VLM)

        answer = ask(client, text("word " * 1000), picture())

        assert answer.status_code == 400
        assert "characters" in answer.json["error"]["message"]


class TestModels:
    def test_the_models_are_those_of_the_workers_and_a_name_for_any(
        self, client: Client, announce: Callable[..., None]
    ) -> None:
        announce(MODEL)

        answer = client.get("/openai/v1/models")

        assert_valid_response(answer)
        assert [model["id"] for model in answer.json["data"]] == ["captiond", MODEL.name]

    @pytest.mark.usefixtures("worker")
    @pytest.mark.parametrize("name", ["captiond", "captiond:latest", MODEL.name, f"{MODEL.name}:latest", None, ""])
    def test_a_request_may_name_a_model(self, client: Client, announce: Callable[..., None], name: str | None) -> None:
        announce(MODEL)

        assert ask(client, picture(encoded()), model=name).status_code == 200

    def test_an_unknown_model_is_refused_and_the_others_are_named(
        self, client: Client, announce: Callable[..., None]
    ) -> None:
        announce(MODEL)

        answer = ask(client, model="gpt-4o")

        assert answer.status_code == 404
        assert answer.json["error"]["code"] == "model_not_found"
        assert f"captiond, {MODEL.name}" in answer.json["error"]["message"]

    @pytest.mark.usefixtures("no_wait")
    def test_a_job_waits_for_its_model_when_no_worker_has_it(
        self, client: Client, announce: Callable[..., None], components: Components
    ) -> None:
        announce(VLM)
        components.workers.leave("host-1")

        answer = ask(client, text("Name the animals."), picture(), model="gemma3:4b")

        assert answer.status_code == 503
        assert options(client) == {"model": "gemma3:4b", "instruction": "Name the animals."}

    @pytest.mark.usefixtures("no_wait")
    def test_without_a_name_the_service_s_default_model_captions(self, settings: Settings, redis: Redis) -> None:
        client = create_app(settings.model_copy(update={"default_model": MODEL.name}), redis=redis).test_client()

        ask(client)

        assert options(client) == {"model": MODEL.name}

    @pytest.mark.usefixtures("no_wait")
    def test_the_default_model_may_be_named_before_a_worker_has_announced_it(
        self, settings: Settings, redis: Redis
    ) -> None:
        client = create_app(settings.model_copy(update={"default_model": MODEL.name}), redis=redis).test_client()

        ask(client, model=MODEL.name)
        refused = ask(client, model="gpt-4o")
        listed = client.get("/openai/v1/models").get_json()["data"]

        assert options(client) == {"model": MODEL.name}
        assert [model["id"] for model in listed] == ["captiond", MODEL.name]
        assert f"captiond, {MODEL.name}" in refused.json["error"]["message"]
