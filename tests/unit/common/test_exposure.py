"""Without API keys the web server serves only this machine, unless `insecure` is set."""

from __future__ import annotations

from pathlib import Path

import fakeredis
import pytest
from redis import Redis

from common import keyring
from common.exposure import is_loopback, refusal
from common.keyring import RedisKeys, Scope
from common.settings import Settings
from tests.support.keys import add_key

NON_LOOPBACK_HOSTS = ["0.0.0.0", "::", "", "192.0.2.7"]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_a_loopback_host_needs_no_keys(tmp_path: Path, host: str) -> None:
    assert is_loopback(host)
    assert refusal(Settings(data=tmp_path, host=host)) is None


@pytest.mark.parametrize("host", NON_LOOPBACK_HOSTS)
def test_other_hosts_are_refused_without_keys(tmp_path: Path, host: str) -> None:
    sentence = str(refusal(Settings(data=tmp_path, host=host)))

    assert "captiond keys add" in sentence and "--insecure" in sentence and "127.0.0.1" in sentence


@pytest.mark.parametrize("host", NON_LOOPBACK_HOSTS)
def test_other_hosts_are_allowed_with_a_key_or_insecure(tmp_path: Path, host: str) -> None:
    assert refusal(Settings(data=tmp_path, host=host, insecure=True)) is None

    settings = Settings(data=tmp_path, host=host)
    add_key(settings, "alice")
    assert refusal(settings) is None


def test_other_hosts_are_allowed_with_a_key_in_redis_and_refused_while_redis_is_away(
    tmp_path: Path, redis: Redis, server: fakeredis.FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("common.exposure.connect", lambda url: redis)
    settings = Settings(data=tmp_path, host="0.0.0.0", redis_url="redis://store:6379/0")
    assert "captiond keys add" in str(refusal(settings))

    _secret, key = keyring.make("alice", [Scope.READ])
    RedisKeys(redis).change(lambda keys: keys.update(alice=key))
    assert refusal(settings) is None

    server.connected = False
    assert "Redis does not answer" in str(refusal(settings))
    assert refusal(settings.model_copy(update={"api_keys": key.entry()})) is None


def test_an_unknown_host_is_refused_even_with_insecure(tmp_path: Path) -> None:
    sentence = str(refusal(Settings(data=tmp_path, host="nowhere.invalid", insecure=True)))

    assert not is_loopback("nowhere.invalid")
    assert sentence.startswith("nowhere.invalid is no IP address")


def test_invalid_keys_are_refused(tmp_path: Path) -> None:
    sentence = str(refusal(Settings(data=tmp_path, api_keys="not an entry")))

    assert "NAME:SCOPES:SHA256" in sentence
