"""Fixtures of the unit tests: a fake clock and an in-memory Redis."""

from __future__ import annotations

from collections.abc import Iterator

import fakeredis
import pytest
from redis import Redis

from tests.support.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def server() -> fakeredis.FakeServer:
    """An in-memory Redis server; `server.connected = False` makes it unreachable."""
    return fakeredis.FakeServer()


@pytest.fixture
def redis(server: fakeredis.FakeServer) -> Iterator[Redis]:
    with fakeredis.FakeStrictRedis(server=server, decode_responses=True) as client:
        yield client
