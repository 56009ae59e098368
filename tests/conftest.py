"""Fixtures for tests that run the real service."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.settings import COMPAT_PROTOCOLS
from tests.support.processes import TwoModels
from tests.support.service import Service

# The tests compare English sentences, whatever the locale.
os.environ["CAPTIOND_LANGUAGE"] = "en"


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A running service, shared by tests that do not change its configuration or stop it."""
    folder = Path(tmp_path_factory.mktemp("service"))
    running = Service(folder, compat=",".join(COMPAT_PROTOCOLS)).start()
    yield running
    running.stop()


@pytest.fixture(scope="session")
def two_models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoModels]:
    """A running service with two workers, which have different models."""
    running = TwoModels(Path(tmp_path_factory.mktemp("two-models")))
    running.start_all()
    yield running
    running.stop()
