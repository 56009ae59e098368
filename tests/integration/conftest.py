"""A Redis with a replica and a Sentinel, for the tests of how the service uses it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.replication import ReplicatedRedis


@pytest.fixture(scope="session")
def replicated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReplicatedRedis]:
    """A primary, a replica and a Sentinel without TLS and passwords, shared by tests that leave them running."""
    with ReplicatedRedis(tmp_path_factory.mktemp("replicated"), replicas=1, sentinels=1).running() as running:
        yield running
