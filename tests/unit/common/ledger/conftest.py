"""Fixtures: a ledger on fakeredis with the test clock."""

from __future__ import annotations

import pytest
from redis import Redis

from common.ledger import Components, Ledger
from common.settings import Settings
from tests.support.clock import Clock


@pytest.fixture
def settings() -> Settings:
    return Settings(lease_seconds=30, max_attempts=3, retention=1000, max_open_jobs=4)


@pytest.fixture
def components(redis: Redis, settings: Settings, clock: Clock) -> Components:
    return Components(redis, settings, clock)


@pytest.fixture
def ledger(components: Components) -> Ledger:
    return components.ledger
