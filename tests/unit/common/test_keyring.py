"""Keys are stored as hashes, found by their secret, and reloaded when their file or Redis changes."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import fakeredis
import pytest
from redis import Redis, RedisError

from common import keyring
from common.keyring import Key, Keyring, KeyringError, RedisKeys, Scope
from common.settings import Settings
from tests.support.keys import add_key, revoke_key


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data=tmp_path)


def test_a_key_is_long_and_random_and_has_the_prefix() -> None:
    first, second = keyring.make("a", [Scope.READ])[0], keyring.make("a", [Scope.READ])[0]

    assert first != second
    assert first.startswith("captiond_") and len(first) == len("captiond_") + 43


def test_the_file_contains_no_secret_and_is_readable_by_its_owner_only(settings: Settings) -> None:
    secret = add_key(settings, "alice")

    text = settings.keys_file.read_text()

    assert secret not in text and secret.removeprefix("captiond_") not in text
    assert settings.keys_file.stat().st_mode & 0o777 == 0o600


def test_a_key_is_found_only_by_its_secret(settings: Settings) -> None:
    secret = add_key(settings, "alice", Scope.READ)
    keys = Keyring(settings)

    found = keys.find(secret)

    assert found is not None and (found.name, found.scopes) == ("alice", frozenset({Scope.READ}))
    for wrong in ("", secret[:-1], secret + "a", found.sha256, "alice", "ü\ud800"):
        assert keys.find(wrong) is None


def test_every_hash_is_compared_in_constant_time(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = [add_key(settings, name) for name in ("a", "b", "c")]
    keys, compared = Keyring(settings), []

    def compare(one: str, other: str) -> bool:
        compared.append(one)
        return one == other

    monkeypatch.setattr("hmac.compare_digest", compare)

    assert keys.find(secrets[0]) is not None

    assert len(compared) == 3


def test_keys_are_read_from_the_environment_too(settings: Settings) -> None:
    secret, key = keyring.make("ci", [Scope.SUBMIT])
    other = add_key(settings, "alice")

    keys = Keyring(settings.model_copy(update={"api_keys": key.entry()}))

    assert keys.needed
    assert [found.name for found in (keys.find(secret), keys.find(other)) if found] == ["ci", "alice"]


def test_an_admin_key_has_every_scope() -> None:
    key = Key("a", frozenset({Scope.ADMIN}), "0" * 64)

    assert all(key.may(scope) for scope in Scope)


@pytest.mark.parametrize(
    "entry",
    [
        "captiond_secretsecret",
        "alice:read",
        "alice:read:captiond_secretsecret",
        f"alice:dance:{'0' * 64}",
        f"al@ice:read:{'0' * 64}",
        f"alice::{'0' * 64}",
        f"a:read:{'0' * 64},a:read:{'1' * 64}",
    ],
)
def test_an_invalid_entry_is_refused_without_being_quoted(entry: str) -> None:
    with pytest.raises(KeyringError, match="captiond keys add") as refused:
        keyring.parse(entry, "CAPTIOND_API_KEYS")

    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("name", ["", "a:b", "a@b", "ü", "a b", "-a", "a" * 65])
def test_an_invalid_name_is_refused(name: str) -> None:
    with pytest.raises(KeyringError, match="cannot be a key's name"):
        keyring.make(name, [Scope.READ])


class TestRunning:
    """A server's keyring, while the file changes under it."""

    def test_a_new_key_is_loaded_by_a_reload(self, settings: Settings) -> None:
        keys = Keyring(settings)
        assert not keys.needed

        secret = add_key(settings, "alice")
        keys.reload()

        assert keys.needed and keys.find(secret) is not None

    def test_a_revoked_key_is_dropped_by_a_reload(self, settings: Settings) -> None:
        secret = add_key(settings, "alice")
        keys = Keyring(settings)

        revoke_key(settings, "alice")
        keys.reload()

        assert keys.find(secret) is None
        assert keys.needed, "without its last key a service is closed, not open to all"

    def test_keys_stay_required_after_their_file_is_deleted(self, settings: Settings) -> None:
        secret = add_key(settings, "alice")
        keys = Keyring(settings)

        settings.keys_file.unlink()
        keys.reload()

        assert keys.needed and keys.find(secret) is None

    def test_an_unreadable_file_leaves_the_previous_keys(
        self, settings: Settings, caplog: pytest.LogCaptureFixture
    ) -> None:
        secret = add_key(settings, "alice")
        keys = Keyring(settings)

        settings.keys_file.write_text("what is this")
        keys.reload()

        assert keys.find(secret) is not None
        assert "stay in use" in caplog.text

    def test_an_unreadable_file_at_the_start_is_refused(self, settings: Settings) -> None:
        settings.keys_file.write_bytes(b"\xff\xfe")

        with pytest.raises(KeyringError, match="cannot be read"):
            Keyring(settings)


def test_an_interrupted_write_leaves_the_old_file(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = add_key(settings, "alice")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        add_key(settings, "bob")

    assert Keyring(settings).find(secret) is not None
    assert sorted(path.name for path in settings.data.iterdir()) == ["keys", "keys.lock"]


class TestInRedis:
    """Keys that several web servers share, and a Redis that is away."""

    def test_a_key_of_one_machine_is_found_by_the_keyrings_of_others(
        self, tmp_path: Path, settings: Settings, redis: Redis
    ) -> None:
        local = add_key(settings, "local")
        keys, elsewhere = Keyring(settings, redis), Keyring(Settings(data=tmp_path / "other"), redis)
        assert not elsewhere.needed

        secret = add_shared_key(redis, "alice")
        keys.reload()
        elsewhere.reload()

        assert elsewhere.needed and elsewhere.find(local) is None
        assert [found.name for found in (keys.find(secret), elsewhere.find(secret), keys.find(local)) if found] == [
            "alice",
            "alice",
            "local",
        ]

    def test_the_keyring_follows_within_a_second(self, settings: Settings, redis: Redis) -> None:
        keys = Keyring(settings, redis)
        assert not keys.needed

        secret, began = add_shared_key(redis, "alice"), time.monotonic()

        while not keys.knows(secret):
            assert time.monotonic() < began + 5
            time.sleep(0.01)

    def test_only_the_hash_is_stored(self, redis: Redis) -> None:
        secret = add_shared_key(redis, "alice")

        assert secret.removeprefix("captiond_") not in str(redis.get("api-keys"))

    def test_without_its_last_key_a_service_that_starts_again_stays_closed(
        self, settings: Settings, redis: Redis
    ) -> None:
        add_shared_key(redis, "alice")
        RedisKeys(redis).change(lambda keys: keys.pop("alice"))

        assert Keyring(settings, redis).needed

    def test_a_known_key_works_while_redis_is_away_and_an_unknown_one_is_an_outage(
        self, settings: Settings, redis: Redis, server: fakeredis.FakeServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        secret = add_shared_key(redis, "alice")
        keys = Keyring(settings, redis)
        server.connected = False
        keys.reload()
        keys.reload()

        assert keys.find(secret) is not None
        assert not keys.knows("captiond_new")
        with pytest.raises(RedisError):
            keys.find("captiond_new")
        assert caplog.text.count("stay in use") == 1

        server.connected = True
        keys.reload()
        assert keys.find("captiond_new") is None

    def test_keys_are_required_until_redis_has_answered(
        self, settings: Settings, redis: Redis, server: fakeredis.FakeServer
    ) -> None:
        server.connected = False
        keys = Keyring(settings, redis)
        assert keys.needed

        server.connected = True
        keys.reload()

        assert not keys.needed

    def test_an_invalid_file_does_not_keep_a_revoked_key_in_redis_valid(self, settings: Settings, redis: Redis) -> None:
        secret = add_shared_key(redis, "alice")
        keys = Keyring(settings, redis)
        settings.keys_file.write_text("what is this")
        RedisKeys(redis).change(lambda keys: keys.pop("alice"))
        keys.reload()

        assert keys.find(secret) is None

    def test_a_forked_process_follows_too(self, settings: Settings, redis: Redis) -> None:
        keys = Keyring(settings, redis)
        assert not keys.needed
        thread = keys._thread
        assert thread is not None and thread.is_alive()
        keys._thread = threading.Thread()  # in a forked process, the other threads have ended

        assert not keys.needed
        assert keys._thread is not None and keys._thread.is_alive()


def add_shared_key(redis: Redis, name: str) -> str:
    """Add a key to Redis and return its secret."""
    secret, key = keyring.make(name, [Scope.READ])
    RedisKeys(redis).change(lambda keys: keys.update({name: key}))
    return secret
