"""The Model Context Protocol, by which agents call tools that caption pictures: `/mcp`.

The transport is Streamable HTTP without sessions, for the protocol versions up to 2026-07-28
(https://modelcontextprotocol.io/specification/2025-11-25/basic/transports): each message is a request of its own, which
any web server can answer, and its answer is JSON. There is no stream of events to GET and no session to DELETE; the
specification lets a server refuse both with 405.
"""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response

from common.problems import Problem
from web.compat.errors import show_errors

#: Error codes of JSON-RPC (https://www.jsonrpc.org/specification#error_object).
INVALID_REQUEST, INTERNAL_ERROR = -32600, -32603

blueprint = Blueprint("mcp", __name__)


@blueprint.post("/mcp")
def answer() -> Response:
    """Answer a message of a client. The SDK is imported at the first one, because that takes a second."""
    from web.compat.mcp.server import answer_request

    return answer_request()


def _error(problem: Problem, sentence: str) -> dict[str, Any]:
    """A problem as an error of JSON-RPC. Its id is null, because the message may not have been read."""
    code = INVALID_REQUEST if problem.status < 500 else INTERNAL_ERROR
    return {"jsonrpc": "2.0", "id": None, "error": {"code": code, "message": sentence}}


show_errors(blueprint, _error)
