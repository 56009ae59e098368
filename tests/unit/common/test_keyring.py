"""Keys are stored as hashes, found by their secret, and reloaded when their file changes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from common import keyring
from common.keyring import Key, Keyring, KeyringError, Scope
from common.settings import Settings
from tests.support.clock import Clock
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

    def test_a_new_key_is_loaded_after_the_interval(self, settings: Settings, clock: Clock) -> None:
        keys = Keyring(settings, clock)
        assert not keys.needed

        secret = add_key(settings, "alice")
        clock.advance(2)

        assert keys.needed and keys.find(secret) is not None

    def test_a_revoked_key_is_dropped_after_the_interval(self, settings: Settings, clock: Clock) -> None:
        secret = add_key(settings, "alice")
        keys = Keyring(settings, clock)

        revoke_key(settings, "alice")
        clock.advance(2)

        assert keys.find(secret) is None
        assert keys.needed, "without its last key a service is closed, not open to all"

    def test_keys_stay_required_after_their_file_is_deleted(self, settings: Settings, clock: Clock) -> None:
        secret = add_key(settings, "alice")
        keys = Keyring(settings, clock)

        settings.keys_file.unlink()
        clock.advance(2)

        assert keys.needed and keys.find(secret) is None

    def test_an_unreadable_file_leaves_the_previous_keys(
        self, settings: Settings, clock: Clock, caplog: pytest.LogCaptureFixture
    ) -> None:
        secret = add_key(settings, "alice")
        keys = Keyring(settings, clock)

        settings.keys_file.write_text("what is this")
        clock.advance(2)

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
