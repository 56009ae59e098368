"""Fixtures of the chaos tests, and a summary of their outcomes at the end of the report."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.runs import LARGE_RUN_IMAGES, LEASE_SECONDS, LOSSES
from tests.support.audit import OUTCOMES, distinct_images
from tests.support.compose import build_images
from tests.support.processes import ServiceProcesses


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slow)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if OUTCOMES:
        terminalreporter.section("accounts")
        for outcome in OUTCOMES:
            terminalreporter.line(str(outcome))
    if LOSSES:
        terminalreporter.section("jobs lost in failovers")
        for line in LOSSES:
            terminalreporter.line(line)


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[ServiceProcesses]:
    running = ServiceProcesses(tmp_path, lease_seconds=LEASE_SECONDS)
    yield running
    running.stop()


@pytest.fixture(scope="session")
def images() -> list[bytes]:
    return distinct_images(LARGE_RUN_IMAGES)


@pytest.fixture(scope="session")
def container_images() -> dict[str, str]:
    """The images of the compose file's services, by service. Only for tests that `podman.obstacle` does not skip."""
    return build_images()


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, images: list[bytes]) -> dict[str, str]:
    """The captions of a run without faults, by the SHA-256 of the images."""
    running = ServiceProcesses(tmp_path_factory.mktemp("undisturbed"))
    running.start_all()
    audit = running.audit()
    try:
        audit.send(images)
        outcome = audit.finish("nothing", {})
        assert (outcome.succeeded, outcome.lost, outcome.written_twice) == (LARGE_RUN_IMAGES, 0, 0)
        return audit.captions()
    finally:
        running.stop()
