"""Answers requests of MCP clients with the SDK `mcp` (https://github.com/modelcontextprotocol/python-sdk, 2.3).

The SDK is an ASGI application. Each request runs it in an event loop and a thread of its own, so that a tool may wait
for captions without delaying other requests, and acts for the principal of its request. It is not the request's thread,
because asyncio refuses to run where another event loop runs already, such as that of an ASGI server.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from importlib.metadata import version

import httpx2
from flask import Response, g, request
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.shared.exceptions import MCPError
from mcp_types import CallToolRequestParams, CallToolResult, ListToolsResult, PaginatedRequestParams

from common import problems
from web.compat.mcp.tools import TOOLS, call_tool
from web.services import get_services

#: What an agent is told about the server.
INSTRUCTIONS = "Describes each picture in one short sentence. Questions about a picture are not answered."


def answer_request() -> Response:
    """The SDK's answer to Flask's current request. Raises `bad-request`, and what a tool raised unexpectedly."""
    with ThreadPoolExecutor(1) as thread:
        answer = thread.submit(copy_context().run, lambda: asyncio.run(_answer())).result()
    if (error := g.pop("tool_error", None)) is not None:
        raise error
    if answer.is_error and not answer.headers.get("Content-Type", "").startswith("application/json"):
        raise problems.BAD_REQUEST("An MCP client must send its message as JSON, and accept JSON.")
    return Response(answer.content, answer.status_code, content_type=answer.headers.get("Content-Type"))


async def _answer() -> httpx2.Response:
    # Flask and the web server have limited the body and checked host, origin and key.
    manager = StreamableHTTPSessionManager(
        SERVER, json_response=True, stateless=True, max_request_body_size=get_services().settings.max_batch_bytes
    )
    # As bytes, because WSGI decodes headers as Latin-1, and httpx2 takes text for ASCII.
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in request.headers]
    transport = httpx2.ASGITransport(app=manager.asgi_app)
    async with manager.run(), httpx2.AsyncClient(transport=transport) as client:
        return await client.post("http://captiond/mcp", headers=headers, content=request.get_data(cache=False))


async def _list_tools(_: ServerRequestContext, params: PaginatedRequestParams | None) -> ListToolsResult:
    return ListToolsResult(tools=[tool.description for tool in TOOLS.values()])


async def _call_tool(_: ServerRequestContext, params: CallToolRequestParams) -> CallToolResult:
    try:
        return call_tool(params.name, params.arguments or {})
    except MCPError:
        raise
    except Exception as error:
        g.tool_error = error  # `answer_request` raises it: the SDK would show its text to some clients
        return CallToolResult(content=[])


SERVER = Server(
    "captiond",
    version=version("captiond"),
    instructions=INSTRUCTIONS,
    on_list_tools=_list_tools,
    on_call_tool=_call_tool,
)
