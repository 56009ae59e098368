"""`captiond keys`: a key is printed once, and only its hash is stored."""

from __future__ import annotations

from pathlib import Path

import fakeredis
import pytest
from redis import Redis

from cli import keys
from common.keyring import Keyring, Scope
from common.settings import Settings
from tests.support.keys import add_key
from tests.unit.cli.commands import run


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data=tmp_path / "new" / "folder")


def test_a_new_key_can_submit_and_read(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("keys", "add", "alice", "--data", str(settings.data)) == 0
    secret = capsys.readouterr().out.strip()

    key = Keyring(settings).find(secret)
    assert key is not None
    assert (key.name, key.scopes) == ("alice", frozenset({Scope.SUBMIT, Scope.READ}))


def test_the_printed_entry_works_in_captiond_api_keys(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    run("keys", "add", "ci", "--scope", "submit", "--scope", "admin", "--data", str(settings.data))
    printed = capsys.readouterr()

    other_machine = Settings(api_keys=printed.err.rsplit(": ", 1)[1].strip())
    key = Keyring(other_machine).find(printed.out.strip())

    assert key is not None and key.scopes == frozenset({Scope.SUBMIT, Scope.ADMIN})
    assert printed.out.strip() not in printed.err


def test_a_duplicate_name_is_refused(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert keys.add(settings, "alice", []) == 0
    secret = capsys.readouterr().out.strip()

    assert keys.add(settings, "alice", []) == 1
    assert "already" in capsys.readouterr().err
    assert Keyring(settings).find(secret) is not None


def test_revoking_a_key_keeps_the_others(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    keys.add(settings, "alice", [])
    keys.add(settings, "bob", [Scope.READ])
    first, second = capsys.readouterr().out.split()

    assert run("keys", "revoke", "alice", "--data", str(settings.data)) == 0
    assert Keyring(settings).find(first) is None
    assert Keyring(settings).find(second) is not None
    assert run("keys", "revoke", "alice", "--data", str(settings.data)) == 1
    assert "no key named alice" in capsys.readouterr().err


def test_the_list_shows_names_scopes_and_sources_without_hashes(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    keys.add(settings, "alice", [])
    keys.add(settings, "root", [Scope.ADMIN])
    capsys.readouterr()

    assert keys.show(settings.model_copy(update={"api_keys": f"ci:read:{'0' * 64}"})) == 0

    assert capsys.readouterr().out.splitlines() == [
        "alice\tread submit\tfile",
        "root\tadmin\tfile",
        "ci\tread\tenvironment",
    ]


class TestInRedis:
    """With `CAPTIOND_REDIS_URL`, keys are for all machines."""

    @pytest.fixture
    def settings(self, tmp_path: Path, redis: Redis, monkeypatch: pytest.MonkeyPatch) -> Settings:
        monkeypatch.setattr(keys, "connect", lambda url: redis)
        return Settings(data=tmp_path, redis_url="redis://store:6379/0")

    def test_a_new_key_is_for_all_machines(
        self, settings: Settings, redis: Redis, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert keys.add(settings, "alice", []) == 0
        secret = capsys.readouterr().out.strip()

        found = Keyring(Settings(data=tmp_path / "elsewhere"), redis).find(secret)
        assert found is not None and found.name == "alice"
        assert not settings.keys_file.exists()

    def test_keys_of_file_and_redis_are_listed_and_can_be_revoked(
        self, settings: Settings, redis: Redis, capsys: pytest.CaptureFixture[str]
    ) -> None:
        add_key(settings, "old")
        assert keys.add(settings, "old", []) == 1, "the name is taken"
        assert keys.add(settings, "new", []) == 0
        capsys.readouterr()

        assert keys.show(settings) == 0
        assert capsys.readouterr().out.splitlines() == ["new\tread submit\tredis", "old\tread submit\tfile"]
        assert [keys.revoke(settings, name) for name in ("old", "new", "other")] == [0, 0, 1]
        assert Keyring(settings, redis).needed

    def test_nothing_is_added_while_redis_is_away(
        self, settings: Settings, server: fakeredis.FakeServer, capsys: pytest.CaptureFixture[str]
    ) -> None:
        server.connected = False

        assert [keys.add(settings, "alice", []), keys.revoke(settings, "alice"), keys.show(settings)] == [1, 1, 1]
        assert capsys.readouterr().err.count("Redis does not answer") == 3


@pytest.mark.parametrize("name", ["a b", "a:b", ""])
def test_an_invalid_name_is_refused_with_a_message(
    settings: Settings, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert keys.add(settings, name, []) == 1
    assert "cannot be a key's name" in capsys.readouterr().err
    assert not settings.keys_file.exists()
