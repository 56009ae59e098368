"""`captiond webhook-secret` prints what a receiver checks signatures with."""

from __future__ import annotations

import pytest
from redis import ConnectionError as RedisConnectionError
from redis import Redis

from cli import webhook_secret as module
from cli.main import main
from common.ledger import Components
from common.settings import Settings


@pytest.fixture
def connected(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> Redis:
    monkeypatch.setattr(module, "connect", lambda url: redis)
    return redis


def test_the_service_s_own_secret_is_printed(connected: Redis, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["webhook-secret"])

    assert ended.value.code == 0
    assert capsys.readouterr().out.splitlines() == Components(connected, Settings()).outbox.secrets()


def test_without_redis_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(url: str) -> Redis:
        raise RedisConnectionError("refused")

    monkeypatch.setattr(module, "connect", refuse)

    assert module.webhook_secret(Settings()) == 1
    assert "Start the service" in capsys.readouterr().err
