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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test its own id: schemathesis gives all operations the same one, and pytest-xdist runs an id once."""
    for item in items:
        if not item.nodeid.endswith(item.name):
            item._nodeid = f"{item.nodeid.rpartition('::')[0]}::{item.name}"
