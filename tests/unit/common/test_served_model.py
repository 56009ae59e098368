"""`CAPTIOND_MODEL` may name the model of a server."""

from __future__ import annotations

import pytest

from common.settings import Settings, SettingsError


@pytest.mark.parametrize(
    ("model", "served"),
    [
        ("openai:http://gpu:8000/v1#Qwen/VL", ("openai", "http://gpu:8000/v1", "Qwen/VL")),
        ("openai:https://api.example.com/v1/#m", ("openai", "https://api.example.com/v1", "m")),
        ("ollama:http://127.0.0.1:11434#llava:7b", ("ollama", "http://127.0.0.1:11434", "llava:7b")),
        ("auto", None),
        ("openai/clip", None),
    ],
)
def test_a_model_may_be_a_server_s(model: str, served: tuple[str, str, str] | None) -> None:
    assert Settings(model=model).served_model == served


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ("openai:http://gpu/v1", "The name of the model follows the URL of its server after a #"),
        ("openai:http://gpu/v1#", "The name of the model follows"),
        ("openai:http://gpu/v1#a#b", "The name of the model follows"),
        ("ollama:gpu:11434#llava", "The URL must begin with https://"),
        ("ollama:#llava", "A URL must have 1 to"),
        ("openai:http://hunter2@gpu/v1#m", "The URL must not have a user name or password"),
        ("openai:http://gpu/v1?key=hunter2#m", "The URL of a model's server must not have a query."),
    ],
)
def test_a_server_s_model_has_a_url_and_a_name(model: str, sentence: str) -> None:
    with pytest.raises(SettingsError, match=f"^CAPTIOND_MODEL: {sentence}") as refused:
        Settings(model=model)
    assert "hunter2" not in str(refused.value)
