"""Fixtures for tests that need the real thing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.service import Service


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The running service, shared by the tests that leave it as they found it."""
    running = Service(Path(tmp_path_factory.mktemp("service"))).start()
    yield running
    running.stop()
