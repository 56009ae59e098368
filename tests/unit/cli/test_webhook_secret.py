"""`captiond webhook-secret` prints the secrets that verify a webhook's signature."""

from __future__ import annotations

import pytest
from redis import ConnectionError as RedisConnectionError
from redis import Redis

from cli import webhook_secret as module
from common.ledger import Components
from common.settings import Settings
from tests.unit.cli.commands import run


@pytest.fixture
def connected(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> Redis:
    monkeypatch.setattr(module, "connect", lambda url: redis)
    return redis


def test_the_service_secret_is_printed(connected: Redis, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("webhook-secret") == 0
    assert capsys.readouterr().out.splitlines() == Components(connected, Settings()).outbox.secrets()


def test_an_unreachable_redis_is_reported_with_advice(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(url: str) -> Redis:
        raise RedisConnectionError("refused")

    monkeypatch.setattr(module, "connect", refuse)

    assert module.webhook_secret(Settings()) == 1
    assert "Start the service" in capsys.readouterr().err
