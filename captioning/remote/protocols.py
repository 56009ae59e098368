"""Requests and answers of the two protocols that servers of vision language models speak.

OpenAI's chat completions, which vLLM, llama.cpp, LM Studio and others offer, too:
https://platform.openai.com/docs/api-reference/chat/create; the fields of an answer are those of
`src/openai/types/chat/chat_completion.py` in openai/openai-python. `max_completion_tokens` has replaced `max_tokens`,
which newer models refuse. No temperature is sent, because these models refuse any but their own.

Ollama's chat: https://github.com/ollama/ollama/blob/main/docs/api.md#generate-a-chat-completion. `think: false` is for
models that would think first; others ignore it.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any, Protocol

#: Maximum length of an answer in tokens, the model's thoughts included. A caption has some thirty.
ANSWER_TOKENS = 2000


class MalformedAnswer(Exception):
    """The server's answer is not one of its protocol."""


class Declined(Exception):
    """The model declines to answer, for example because of a filter."""


@dataclass(frozen=True)
class Answer:
    """What a model wrote, and whether it was cut off at the maximum length."""

    text: str
    cut: bool


class ChatProtocol(Protocol):
    """How a server is asked about an image. `path` follows the URL of `CAPTIOND_MODEL`."""

    path: str

    def request(self, model: str, instruction: str, image: bytes) -> dict[str, Any]:
        """The JSON of a request. `image` is a JPEG."""

    def answer(self, body: Any) -> Answer:
        """Read the JSON of a response. Raises `MalformedAnswer` or `Declined`."""


class OpenAI:
    """OpenAI's chat completions."""

    path = "/chat/completions"

    def request(self, model: str, instruction: str, image: bytes) -> dict[str, Any]:
        url = f"data:image/jpeg;base64,{base64.b64encode(image).decode()}"
        content = [{"type": "text", "text": instruction}, {"type": "image_url", "image_url": {"url": url}}]
        return {
            "model": model,
            "messages": [{"role": "user", "content": content}],
            "max_completion_tokens": ANSWER_TOKENS,
            "stream": False,
        }

    def answer(self, body: Any) -> Answer:
        choice = _member(body, "choices", list)
        message = _member(choice[0] if choice else None, "message", dict)
        reason = choice[0].get("finish_reason")
        if message.get("refusal") or reason == "content_filter":
            raise Declined
        return Answer(_member(message, "content", str), reason == "length")


class Ollama:
    """Ollama's own chat protocol."""

    path = "/api/chat"

    def request(self, model: str, instruction: str, image: bytes) -> dict[str, Any]:
        message = {"role": "user", "content": instruction, "images": [base64.b64encode(image).decode()]}
        return {
            "model": model,
            "messages": [message],
            "options": {"num_predict": ANSWER_TOKENS, "temperature": 0},
            "think": False,
            "stream": False,
        }

    def answer(self, body: Any) -> Answer:
        text = _member(_member(body, "message", dict), "content", str)
        return Answer(text, body.get("done_reason") == "length" or body.get("done") is False)


PROTOCOLS: dict[str, ChatProtocol] = {"openai": OpenAI(), "ollama": Ollama()}


def _member(value: Any, name: str, kind: type) -> Any:
    """The member `name` of an object; raises `MalformedAnswer` unless it is of this type."""
    member = value.get(name) if isinstance(value, dict) else None
    if not isinstance(member, kind):
        raise MalformedAnswer
    return member
