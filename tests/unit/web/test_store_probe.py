"""The readiness probe asks the upload store at most every few seconds, and never waits long for it."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from common.uploads import UploadStore, UploadsUnavailable
from tests.support.clock import Clock
from web import store_probe
from web.store_probe import CHECK_INTERVAL, StoreProbe


class CountedStore(UploadStore):
    """A store that counts its checks, each of which waits for `gate`."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.checks = 0
        self.gate = threading.Event()
        self.gate.set()

    def check(self) -> None:
        self.checks += 1
        self.gate.wait(10)
        super().check()


@pytest.fixture
def store(tmp_path: Path) -> CountedStore:
    store = CountedStore(str(tmp_path / "uploads"))
    store.create()
    return store


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("web.store_probe.time.monotonic", clock)
    return clock


def test_the_store_is_asked_once_in_an_interval(store: CountedStore, clock: Clock) -> None:
    probe = StoreProbe(store)
    for _ in range(3):
        probe.check()
    assert store.checks == 1

    clock.advance(CHECK_INTERVAL)
    probe.check()
    assert store.checks == 2


def test_an_outage_is_noticed_and_its_end_too(store: CountedStore, clock: Clock, tmp_path: Path) -> None:
    probe = StoreProbe(store)
    probe.check()
    (tmp_path / "uploads").rename(tmp_path / "away")
    clock.advance(CHECK_INTERVAL)
    with pytest.raises(UploadsUnavailable):
        probe.check()

    (tmp_path / "away").rename(tmp_path / "uploads")
    clock.advance(CHECK_INTERVAL)
    probe.check()


def test_a_hanging_store_occupies_one_thread_and_does_not_delay_the_probe(
    store: CountedStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_probe, "CHECK_TIMEOUT", 0.01)
    probe = StoreProbe(store)
    store.gate.clear()
    for _ in range(3):
        with pytest.raises(UploadsUnavailable):
            probe.check()
        clock.advance(CHECK_INTERVAL)

    assert store.checks == 1
    store.gate.set()
