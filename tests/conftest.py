"""Fixtures for tests that run the real service."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.service import Service

# The tests compare English sentences, whatever the locale.
os.environ["CAPTIOND_LANGUAGE"] = "en"


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A running service, shared by tests that do not change its configuration or stop it."""
    running = Service(Path(tmp_path_factory.mktemp("service"))).start()
    yield running
    running.stop()
