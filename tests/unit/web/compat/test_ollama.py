"""Ollama's API: requests in all forms that clients send, and answers in Ollama's shape."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from common.jobs import ModelInfo
from tests.support.contract import assert_valid_response
from tests.support.images import numbered
from tests.unit.web.client import MODEL, Client
from tests.unit.web.compat.requests import in_base64

VLM = ModelInfo(name="gemma3:4b", version="sha256:2a", instructions=True)


def generate(client: Client, **members: Any) -> Any:
    body = {"model": "captiond", "prompt": "Describe this.", "images": [in_base64()], "stream": False, **members}
    return client.post("/api/generate", json=body)


def chat(client: Client, *messages: Any, **members: Any) -> Any:
    return client.post("/api/chat", json={"model": "captiond", "messages": messages, "stream": False, **members})


@pytest.mark.usefixtures("worker")
class TestAnswer:
    def test_generate_answers_with_the_caption(self, client: Client) -> None:
        answer = generate(client)

        assert_valid_response(answer)
        assert (
            answer.json.items()
            >= {
                "model": "captiond",
                "response": "a red ball",
                "done": True,
                "done_reason": "stop",
                "eval_count": 3,
                "eval_duration": 200_000_000,
            }.items()
        )
        assert answer.json["total_duration"] > 0

    def test_chat_answers_with_a_message(self, client: Client) -> None:
        answer = chat(client, {"role": "user", "content": "Describe this.", "images": [in_base64()]})

        assert_valid_response(answer)
        assert answer.json["message"] == {"role": "assistant", "content": "a red ball"}

    def test_a_cached_caption_has_a_duration_by_which_clients_can_divide(
        self, client: Client, announce: Callable[..., None]
    ) -> None:
        announce(MODEL)
        generate(client)

        assert generate(client).json["eval_duration"] == 1

    @pytest.mark.parametrize("members", [{"stream": True}, {"stream": None}])
    def test_answers_are_streamed_unless_the_request_says_otherwise(
        self, client: Client, members: dict[str, Any]
    ) -> None:
        answer = generate(client, **members)

        first, last = map(json.loads, answer.text.splitlines())
        assert answer.mimetype == "application/x-ndjson"
        assert (first["response"], first["done"]) == ("a red ball", False)
        assert (last["response"], last["done"], last["done_reason"]) == ("", True, "stop")

    def test_a_body_without_a_content_type_is_read(self, client: Client) -> None:
        body = json.dumps({"images": [in_base64()], "stream": False})

        form = {"Content-Type": "application/x-www-form-urlencoded"}  # curl's default
        assert client.post("/api/generate", data=body, headers=form).json["response"] == "a red ball"

    def test_the_last_pictures_of_a_chat_are_captioned(self, client: Client) -> None:
        first, second = numbered(2)

        chat(
            client,
            {"role": "user", "content": "This?", "images": [in_base64(first)]},
            {"role": "assistant", "content": "a blue ball"},
            {"role": "user", "content": "And this?", "images": [in_base64(second)]},
        )

        (job,) = client.get("/v1/jobs").json["jobs"]
        assert job["input"]["bytes"] == len(second)


@pytest.mark.usefixtures("no_wait")
def test_a_model_with_instructions_is_told_the_prompt(client: Client, announce: Callable[..., None]) -> None:
    announce(VLM)

    generate(client, system="Be brief.", prompt="Name the animals.")
    chat(client, {"role": "user", "content": "Count them.", "images": [in_base64()]})

    options = [job["options"] for job in client.get("/v1/jobs").json["jobs"]]
    assert options == [{"instruction": "Count them."}, {"instruction": "Be brief.\nName the animals."}]


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"images": []}, "has no picture"),
        ({"images": "x"}, "`images` must be a list"),
        ({"images": [None]}, "must be text"),
        ({"images": ["%"]}, "no valid base64"),
        ({"prompt": 7}, "`prompt` must be text"),
    ],
)
def test_an_invalid_request_is_refused_with_a_sentence(client: Client, members: dict[str, Any], said: str) -> None:
    answer = generate(client, **members)

    assert answer.status_code == 400
    assert said in answer.json["error"]


@pytest.mark.parametrize("messages", [["x"], [{"content": {}}]])
def test_an_invalid_chat_is_refused(client: Client, messages: list[Any]) -> None:
    assert chat(client, *messages).status_code == 400


@pytest.mark.parametrize(("members", "reason"), [({}, "load"), ({"keep_alive": 0}, "unload"), ({"images": []}, "load")])
def test_an_empty_request_loads_or_unloads_a_model_in_name_only(
    client: Client, members: dict[str, Any], reason: str
) -> None:
    generated = client.post("/api/generate", json={"model": "captiond", **members})
    said = client.post("/api/chat", json={"model": "captiond", **members})

    assert (generated.json["response"], generated.json["done_reason"]) == ("", reason)
    assert (said.json["message"]["content"], said.json["done_reason"]) == ("", reason)
    assert client.get("/v1/jobs").json["jobs"] == []


class TestModels:
    def test_the_models_are_listed_with_tags(self, client: Client, announce: Callable[..., None]) -> None:
        announce(VLM)

        answer = client.get("/api/tags")

        assert_valid_response(answer)
        assert [model["name"] for model in answer.json["models"]] == ["captiond:latest", "gemma3:4b"]

    def test_a_model_is_shown_with_its_capabilities(self, client: Client, announce: Callable[..., None]) -> None:
        announce(MODEL)

        shown = client.post("/api/show", json={"model": f"{MODEL.name}:latest"})
        unknown = client.post("/api/show", json={"name": "llava"})

        assert_valid_response(shown)
        assert shown.json["capabilities"] == ["completion", "vision"]
        assert unknown.status_code == 404
        assert "llava" in unknown.json["error"]

    def test_the_version_is_that_of_an_ollama(self, client: Client) -> None:
        assert_valid_response(client.get("/api/version"))
