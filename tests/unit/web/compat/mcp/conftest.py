"""A web server for MCP clients, which need a real one."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from common.settings import Settings


@pytest.fixture
def start(serve: Callable[[Settings], int], settings: Settings) -> Callable[[], str]:
    """Starts a server; returns the URL of its MCP endpoint."""
    return lambda: f"http://127.0.0.1:{serve(settings.model_copy(update={'port': 0}))}/mcp"


@pytest.fixture
def url(start: Callable[[], str]) -> str:
    """The URL of the MCP endpoint of a running server."""
    return start()
