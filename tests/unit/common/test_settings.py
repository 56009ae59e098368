"""Settings come from the environment, with types."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.queue import make_celery
from common.settings import Settings, SettingsError, from_environment, terminal_language
from common.uploads import UploadStore


def test_a_variable_sets_its_field(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAPTIOND_MAX_BATCH", "3")

    assert Settings().max_batch == 3


def test_an_invalid_value_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAPTIOND_BEAMS", "many")

    with pytest.raises(SettingsError, match="CAPTIOND_BEAMS: It must be a whole number"):
        Settings()


def test_celery_gets_its_own_scheme_for_a_unix_socket() -> None:
    assert make_celery(Settings(redis_url="unix:///run/redis.sock")).conf.broker_url == "redis+socket:///run/redis.sock"


def test_the_broker_can_be_another_server() -> None:
    settings = Settings(redis_url="redis://one/0", broker_url="amqp://two//")

    assert (settings.redis_location, settings.broker_location) == ("redis://one/0", "amqp://two//")


def test_uploads_are_stored_in_the_data_folder_by_default(tmp_path: Path) -> None:
    assert Settings(data=tmp_path).uploads_location == (tmp_path / "uploads").as_uri()
    assert Settings(uploads_url="memory://bucket").uploads_location == "memory://bucket"


def test_the_data_folder_s_name_may_contain_special_characters(tmp_path: Path) -> None:
    data = tmp_path / "my photos %20 ü"

    store = UploadStore(Settings(data=data).uploads_location)
    store.create()
    store.save("job", b"picture")

    assert [path.read_bytes() for path in data.rglob("job")] == [b"picture"]


@pytest.mark.parametrize("value", ["", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw," + "whsec_" + "A" * 32])
def test_webhook_secrets_may_be_none_or_several(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("CAPTIOND_WEBHOOK_SECRET", value)

    assert Settings().webhook_secret == value


def test_an_invalid_webhook_secret_is_refused_and_not_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAPTIOND_WEBHOOK_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw,hunter2")

    with pytest.raises(SettingsError, match=r"CAPTIOND_WEBHOOK_SECRET: .* random bytes in base64") as refused:
        Settings()
    assert "hunter2" not in str(refused.value) and "MfKQ9" not in str(refused.value)


def test_every_invalid_setting_has_a_line_at_the_start_of_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAPTIOND_BEAMS", "0")
    monkeypatch.setenv("CAPTIOND_RETENTION", "inf")
    monkeypatch.setenv("CAPTIOND_REDIS_URL", "redis://:secret#7@host/0")

    with pytest.raises(SystemExit) as ended:
        from_environment()

    lines = str(ended.value.code).splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        "CAPTIOND_REDIS_URL",
        "CAPTIOND_BEAMS",
        "CAPTIOND_RETENTION",
    ]
    assert all(line.endswith(".") for line in lines) and "secret" not in str(ended.value.code)


@pytest.mark.parametrize("name", ["redis_url", "broker_url", "uploads_url", "model", "data"])
def test_a_quoted_value_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"CAPTIOND_{name.upper()}", "'redis://:secret@host/0'")

    with pytest.raises(SettingsError, match=f"CAPTIOND_{name.upper()}: The quotes") as refused:
        Settings()
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("instruction", " ", "It must not be empty."),
        ("caption_language", "German", "It must be the code of a language, such as de or pt-BR."),
    ],
)
def test_an_instruction_and_a_language_are_checked(name: str, value: str, sentence: str) -> None:
    with pytest.raises(SettingsError, match=f"^CAPTIOND_{name.upper()}: {sentence}$"):
        Settings(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("key", ["a b", "a\nb", "ключ"])
def test_a_model_s_key_fits_into_a_header(key: str) -> None:
    with pytest.raises(SettingsError, match=r"^CAPTIOND_MODEL_KEY: It must have no spaces"):
        Settings(model_key=key)


def test_the_protocols_of_other_software_are_a_list_of_known_names() -> None:
    assert Settings(compat=" ollama, openai,").compat_protocols == ["ollama", "openai"]
    assert Settings().compat_protocols == []
    with pytest.raises(SettingsError, match=r"^CAPTIOND_COMPAT: It must be names separated by commas, of: openai, "):
        Settings(compat="openai, gopher")


def test_the_repr_of_the_settings_contains_no_secret() -> None:
    settings = Settings(
        redis_url="redis://:secret1@host/0",
        broker_url="amqp://captiond:secret2@host//",
        uploads_url="ftp://captiond:secret3@host/pictures",
        model_url="https://host/student.pt?token=secret4",
        webhook_secret="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        model_key="sk-secret5",
    )

    assert "secret" not in repr(settings).replace("webhook_secret", "") and "whsec_" not in repr(settings)
    assert settings.secrets() == {
        "secret1",
        "secret2",
        "secret3",
        "token=secret4",
        "sk-secret5",
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    }


@pytest.mark.parametrize(
    ("variables", "language"),
    [
        ({}, "en"),
        ({"LANG": "ru_RU.UTF-8"}, "ru"),
        ({"LANG": "de_DE.UTF-8"}, "en"),
        ({"LANG": "ru_RU.UTF-8", "LC_MESSAGES": "en_GB.UTF-8"}, "en"),
        ({"LANG": "en_GB.UTF-8", "LC_MESSAGES": "en_GB.UTF-8", "LC_ALL": "ru_RU@x"}, "ru"),
        ({"LANG": "en_GB.UTF-8", "LC_ALL": "", "CAPTIOND_LANGUAGE": "ru"}, "ru"),
        ({"LC_ALL": "C"}, "en"),
    ],
    ids=str,
)
def test_the_language_of_the_commands_is_that_of_the_setting_or_the_locale(
    variables: dict[str, str], language: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CAPTIOND_LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert terminal_language() == language


def test_an_unknown_language_is_refused_with_the_known_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAPTIOND_LANGUAGE", "de")

    with pytest.raises(SettingsError, match="CAPTIOND_LANGUAGE: It must be one of 'en', 'ru'"):
        Settings()


def test_the_protocol_mcp_needs_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("common.settings.find_spec", lambda _: None)

    assert Settings(compat="openai").compat_protocols == ["openai"]
    with pytest.raises(SettingsError, match=r"CAPTIOND_COMPAT: .* not installed: pip install -e '\.\[mcp\]'"):
        Settings(compat="openai,mcp")


def test_the_token_for_label_studio_is_a_secret() -> None:
    settings = Settings(label_studio_url="http://label-studio:8080", label_studio_token="secret")

    assert "secret" in settings.secrets()
    assert "secret" not in repr(settings)
