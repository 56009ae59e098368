"""`captiond keys`: the key is shown once, and only its hash is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli import keys
from common.keyring import Keyring, Scope
from common.settings import Settings
from tests.unit.cli.test_main import run


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data=tmp_path / "new" / "folder")


def test_a_key_is_made_and_works(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("keys", "add", "alice", "--data", str(settings.data)) == 0
    secret = capsys.readouterr().out.strip()

    found = Keyring(settings).find(secret)
    assert found is not None
    assert (found.name, found.scopes) == ("alice", frozenset({Scope.SUBMIT, Scope.READ}))


def test_what_it_says_beside_works_as_a_variable(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    run("keys", "add", "ci", "--scope", "submit", "--scope", "admin", "--data", str(settings.data))
    said = capsys.readouterr()

    elsewhere = Settings(api_keys=said.err.rsplit(": ", 1)[1].strip())
    found = Keyring(elsewhere).find(said.out.strip())

    assert found is not None and found.scopes == frozenset({Scope.SUBMIT, Scope.ADMIN})
    assert said.out.strip() not in said.err


def test_a_name_is_taken_once(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert keys.add(settings, "alice", []) == 0
    secret = capsys.readouterr().out.strip()

    assert keys.add(settings, "alice", []) == 1
    assert "already" in capsys.readouterr().err
    assert Keyring(settings).find(secret) is not None


def test_a_revoked_key_is_gone_and_the_others_are_not(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    keys.add(settings, "alice", [])
    keys.add(settings, "bob", [Scope.READ])
    first, second = capsys.readouterr().out.split()

    assert run("keys", "revoke", "alice", "--data", str(settings.data)) == 0
    assert Keyring(settings).find(first) is None
    assert Keyring(settings).find(second) is not None
    assert run("keys", "revoke", "alice", "--data", str(settings.data)) == 1
    assert "no key named alice" in capsys.readouterr().err


def test_the_list_shows_names_and_no_hash(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    keys.add(settings, "alice", [])
    keys.add(settings, "root", [Scope.ADMIN])
    capsys.readouterr()

    assert keys.show(settings.model_copy(update={"api_keys": f"ci:read:{'0' * 64}"})) == 0

    assert capsys.readouterr().out.splitlines() == [
        "alice\tread submit\tfile",
        "root\tadmin\tfile",
        "ci\tread\tenvironment",
    ]


@pytest.mark.parametrize("name", ["a b", "a:b", ""])
def test_a_name_that_is_none_is_refused_in_a_sentence(
    settings: Settings, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert keys.add(settings, name, []) == 1
    assert "cannot be a key's name" in capsys.readouterr().err
    assert not settings.keys_file.exists()
