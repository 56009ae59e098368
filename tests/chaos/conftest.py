"""What the runs begin with, and their accounts at the end of the report."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.audit import OUTCOMES, different
from tests.support.processes import Parts

#: Pictures in the large runs.
MANY = 2000
#: Seconds; short, so that the runs are.
LEASE = 3.0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slow)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if OUTCOMES:
        terminalreporter.section("accounts")
        for outcome in OUTCOMES:
            terminalreporter.line(str(outcome))


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    running = Parts(tmp_path, lease_seconds=LEASE)
    yield running
    running.stop()


@pytest.fixture(scope="session")
def pictures() -> list[bytes]:
    return different(MANY)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, pictures: list[bytes]) -> dict[str, str]:
    """The captions of a run in which nothing happens, by the pictures' SHA-256."""
    running = Parts(tmp_path_factory.mktemp("undisturbed"))
    running.start_all()
    account = running.account()
    try:
        account.send(pictures)
        outcome = account.close("nothing", {})
        assert (outcome.succeeded, outcome.lost, outcome.written_twice) == (MANY, 0, 0)
        return account.captions()
    finally:
        running.stop()
