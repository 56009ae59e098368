"""The clients of other software accept captiond's answers and errors: a real server, and a stand-in for the worker."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import huggingface_hub
import ollama
import openai
import pytest
from huggingface_hub.errors import HfHubHTTPError

from common.keyring import Scope
from common.ledger import Ledger
from common.settings import Settings
from tests.support.images import encoded
from tests.support.keys import add_key
from tests.unit.web.client import MODEL


@dataclass(frozen=True)
class Account:
    """A running web server, and an API key for it."""

    url: str
    key: str

    @contextmanager
    def openai(self, max_retries: int = 0) -> Iterator[openai.OpenAI]:
        with openai.OpenAI(base_url=f"{self.url}/openai/v1", api_key=self.key, max_retries=max_retries) as client:
            yield client

    @contextmanager
    def ollama(self) -> Iterator[ollama.Client]:
        with ollama.Client(host=self.url, headers={"Authorization": f"Bearer {self.key}"}) as client:
            yield client

    @contextmanager
    def huggingface(self) -> Iterator[huggingface_hub.InferenceClient]:
        yield huggingface_hub.InferenceClient(f"{self.url}/huggingface/image-to-text", token=self.key)
        huggingface_hub.close_session()


def chat_with(image: bytes) -> list[Any]:
    """The messages of a chat about a picture."""
    url = f"data:image/jpeg;base64,{base64.b64encode(image).decode()}"
    return [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]


def ask_openai(account: Account, image: bytes, max_retries: int = 0) -> str:
    with account.openai(max_retries) as client:
        answer = client.chat.completions.create(model="captiond", messages=chat_with(image))
    return str(answer.choices[0].message.content)


def ask_ollama(account: Account, image: bytes) -> str:
    with account.ollama() as client:
        return str(client.generate("captiond", "Describe this.", images=[image]).response)


def ask_huggingface(account: Account, image: bytes) -> str:
    with account.huggingface() as client:
        return str(client.image_to_text(image).generated_text)


#: Asks for a caption through a client, and the client's error.
CLIENTS: dict[str, tuple[Callable[[Account, bytes], str], type[Exception]]] = {
    "openai": (ask_openai, openai.APIStatusError),
    "ollama": (ask_ollama, ollama.ResponseError),
    "huggingface": (ask_huggingface, HfHubHTTPError),
}


def status_of(error: Any) -> int:
    """The HTTP status that a client's error carries."""
    return int(error.status_code if hasattr(error, "status_code") else error.response.status_code)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    settings.keys_file.touch()
    return settings.model_copy(update={"port": 0})


@pytest.fixture
def account(settings: Settings, serve: Callable[[Settings], int]) -> Account:
    key = add_key(settings, "alice", Scope.SUBMIT, Scope.READ)
    return Account(f"http://127.0.0.1:{serve(settings)}", key)


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("name", CLIENTS)
def test_a_client_gets_a_caption(account: Account, name: str) -> None:
    ask, _ = CLIENTS[name]

    assert ask(account, encoded()) == "a red ball"


@pytest.mark.parametrize("name", CLIENTS)
@pytest.mark.parametrize(
    ("image", "status", "said"),
    [
        (b"<h1>Hello</h1>", 415, "not a picture"),
        (b"x" * 100_000, 415, "not a picture"),
        (b"x" * 100_001, 413, "larger than the limit"),
        (b"x" * 500_000, 413, "The request is too large"),
    ],
    ids=["no picture", "limit", "large picture", "large body"],
)
def test_a_client_raises_its_own_error_with_the_sentence(
    account: Account, name: str, image: bytes, status: int, said: str
) -> None:
    ask, error = CLIENTS[name]

    with pytest.raises(error) as raised:
        ask(account, image)

    assert status_of(raised.value) == status
    assert said in str(raised.value)


@pytest.mark.parametrize("name", CLIENTS)
def test_a_client_with_a_wrong_key_is_told_so(account: Account, name: str) -> None:
    ask, error = CLIENTS[name]

    with pytest.raises(error) as raised:
        ask(Account(account.url, "wrong"), encoded())

    assert status_of(raised.value) == 401


@pytest.mark.usefixtures("no_wait")
@pytest.mark.parametrize("name", CLIENTS)
def test_a_caption_that_is_not_ready_is_an_error_that_can_be_retried(account: Account, name: str) -> None:
    ask, error = CLIENTS[name]

    with pytest.raises(error) as raised:
        ask(account, encoded())

    assert status_of(raised.value) == 503


class TestOpenAI:
    def test_errors_have_openai_s_classes_and_codes(self, account: Account) -> None:
        with account.openai() as client, pytest.raises(openai.BadRequestError) as invalid:
            client.chat.completions.create(model="captiond", messages=[], n=10**9)
        with pytest.raises(openai.AuthenticationError) as refused:
            ask_openai(Account(account.url, "wrong"), encoded())

        assert refused.value.code == "invalid_api_key"
        assert (invalid.value.type, invalid.value.param) == ("invalid_request_error", None)

    def test_a_rate_limit_is_openai_s_with_the_seconds_to_wait(
        self, settings: Settings, serve: Callable[[Settings], int], account: Account
    ) -> None:
        limited = Account(
            f"http://127.0.0.1:{serve(settings.model_copy(update={'submits_per_minute': 1}))}", account.key
        )
        with limited.openai() as client:
            with pytest.raises(openai.BadRequestError):
                client.chat.completions.create(model="captiond", messages=[])

            with pytest.raises(openai.RateLimitError) as refused:
                client.chat.completions.create(model="captiond", messages=[])

        assert refused.value.code == "rate_limit_exceeded"
        assert int(refused.value.response.headers["Retry-After"]) >= 1

    @pytest.mark.usefixtures("no_wait")
    def test_the_client_s_own_retries_get_the_caption_of_the_same_job(
        self,
        account: Account,
        monkeypatch: pytest.MonkeyPatch,
        ledger: Ledger,
        caption: Callable[[str, str], None],
        announce: Callable[..., None],
    ) -> None:
        announce(MODEL)
        delays: list[float] = []
        delay_of = openai.OpenAI._calculate_retry_timeout

        def finish_the_job(*arguments: Any) -> float:
            """Caption the picture between the client's requests; returns the seconds that the client waits."""
            ((job,), _) = ledger.recent()
            caption(job.id, "a red ball")
            delays.append(delay_of(*arguments))
            return 0

        monkeypatch.setattr(openai.OpenAI, "_calculate_retry_timeout", finish_the_job)

        assert ask_openai(account, encoded(), max_retries=1) == "a red ball"
        assert delays == [1]

    @pytest.mark.usefixtures("worker")
    def test_a_stream_is_read(self, account: Account) -> None:
        with account.openai() as client:
            chunks = list(
                client.chat.completions.create(
                    model="captiond",
                    messages=chat_with(encoded()),
                    stream=True,
                    stream_options={"include_usage": True},
                )
            )

        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "a red ball"
        assert chunks[-1].usage is not None and chunks[-1].usage.completion_tokens == 3

    def test_the_models_are_listed(self, account: Account, announce: Callable[..., None]) -> None:
        announce(MODEL)

        with account.openai() as client:
            assert [model.id for model in client.models.list()] == ["captiond", MODEL.name]


class TestOllama:
    @pytest.mark.usefixtures("worker")
    def test_a_chat_and_streams_are_read(self, account: Account) -> None:
        image = ollama.Image(value=encoded())
        messages = [ollama.Message(role="user", content="Describe this.", images=[image])]

        with account.ollama() as client:
            said = client.chat("captiond", messages)
            streamed = list(client.chat("captiond", messages, stream=True))
            generated = list(client.generate("captiond", images=[image], stream=True))

        assert said.message.content == "a red ball"
        assert "".join(part.message.content or "" for part in streamed) == "a red ball"
        assert "".join(part.response or "" for part in generated) == "a red ball"

    def test_the_models_are_listed_and_shown(self, account: Account, announce: Callable[..., None]) -> None:
        announce(MODEL)

        with account.ollama() as client:
            names = [str(model.model) for model in client.list().models]
            shown = client.show(names[0])
            with pytest.raises(ollama.ResponseError) as unknown:
                client.show("llava")

        assert names == ["captiond:latest", f"{MODEL.name}:latest"]
        assert shown.capabilities == ["completion", "vision"]
        assert unknown.value.status_code == 404
