"""Settings come from the environment, with types."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from common.settings import Settings
from common.uploads import UploadStore


def test_a_variable_sets_its_field(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAPTIOND_MAX_BATCH", "3")

    assert Settings().max_batch == 3


def test_a_value_that_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAPTIOND_BEAMS", "many")

    with pytest.raises(ValidationError, match="beams"):
        Settings()


def test_celery_gets_its_own_spelling_of_a_unix_socket() -> None:
    assert Settings(redis_url="unix:///run/redis.sock").broker_location == "redis+socket:///run/redis.sock"


def test_the_broker_can_be_another_server() -> None:
    settings = Settings(redis_url="redis://one/0", broker_url="amqp://two//")

    assert (settings.redis_location, settings.broker_location) == ("redis://one/0", "amqp://two//")


def test_pictures_are_kept_in_the_data_folder_unless_told(tmp_path: Path) -> None:
    assert Settings(data=tmp_path).uploads_location == (tmp_path / "uploads").as_uri()
    assert Settings(uploads_url="s3://bucket").uploads_location == "s3://bucket"


def test_uploads_stand_in_the_data_folder_whatever_its_name(tmp_path: Path) -> None:
    data = tmp_path / "my photos %20 ü"

    store = UploadStore(Settings(data=data).uploads_location)
    store.create()
    store.save("job", b"picture")

    assert [path.read_bytes() for path in data.rglob("job")] == [b"picture"]


@pytest.mark.parametrize("value", ["", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw," + "whsec_" + "A" * 32])
def test_webhook_secrets_may_be_none_or_several(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("CAPTIOND_WEBHOOK_SECRET", value)

    assert Settings().webhook_secret == value


def test_a_webhook_secret_with_a_slip_in_it_is_refused_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAPTIOND_WEBHOOK_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw,hunter2")

    with pytest.raises(ValidationError, match="random bytes in base64") as refused:
        Settings()
    assert "hunter2" not in str(refused.value) and "MfKQ9" not in str(refused.value)
