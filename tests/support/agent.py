"""An agent: the client of the SDK `mcp`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

#: A revision of the protocol without a handshake, and the revisions before it.
MODERN, LEGACY = "auto", "legacy"


def connected(
    url: str, use: Callable[[Client], Coroutine[Any, Any, Any]], *, mode: str = MODERN, key: str | None = None
) -> Any:
    """The result of `use` with a client of the server. Raises `mcp.MCPError`."""

    async def run() -> Any:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        async with (
            httpx2.AsyncClient(headers=headers, timeout=60) as http,
            Client(streamable_http_client(url, http_client=http), mode=mode) as client,
        ):
            return await use(client)

    try:
        # In a thread of its own, because the event loop of a browser test may run in this one.
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(lambda: asyncio.run(run())).result()
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):  # of the task groups of client and transport
            error = error.exceptions[0]
        raise error from None


def call(url: str, tool: str, arguments: dict[str, Any], *, mode: str = MODERN, key: str | None = None) -> Any:
    """The result of a tool."""
    return connected(url, lambda client: client.call_tool(tool, arguments), mode=mode, key=key)
