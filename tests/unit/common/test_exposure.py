"""Without keys, only this machine is served, unless somebody says otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.exposure import is_loopback, refusal
from common.settings import Settings
from tests.support.keys import add_key

OUTSIDE = ["0.0.0.0", "::", "", "192.0.2.7"]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_this_machine_may_do_without_keys(tmp_path: Path, host: str) -> None:
    assert is_loopback(host)
    assert refusal(Settings(data=tmp_path, host=host)) is None


@pytest.mark.parametrize("host", OUTSIDE)
def test_others_may_not(tmp_path: Path, host: str) -> None:
    said = refusal(Settings(data=tmp_path, host=host))

    assert said is not None
    assert "captiond keys add" in said and "--insecure" in said and "127.0.0.1" in said


@pytest.mark.parametrize("host", OUTSIDE)
def test_with_a_key_or_when_told_they_may(tmp_path: Path, host: str) -> None:
    assert refusal(Settings(data=tmp_path, host=host, insecure=True)) is None

    settings = Settings(data=tmp_path, host=host)
    add_key(settings, "alice")
    assert refusal(settings) is None


def test_a_host_that_is_no_address_is_refused_whatever_it_is_told(tmp_path: Path) -> None:
    said = refusal(Settings(data=tmp_path, host="nowhere.invalid", insecure=True))

    assert not is_loopback("nowhere.invalid")
    assert said is not None and said.startswith("nowhere.invalid is no IP address")


def test_keys_that_cannot_be_read_are_not_taken_for_none(tmp_path: Path) -> None:
    said = refusal(Settings(data=tmp_path, api_keys="not an entry"))

    assert said is not None and "NAME:SCOPES:SHA256" in said
