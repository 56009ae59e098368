"""The whole document, put together once for each process."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from typing import Any

from web.api.openapi import batches, jobs, pages, service
from web.api.openapi.schemas import schemas
from web.api.openapi.webhooks import WEBHOOKS

#: Each group of routes: its name, what it is for, and its paths.
GROUPS = (
    ("Jobs", "One picture on its way to a caption.", jobs.PATHS),
    ("Batches", "Many pictures in one request.", batches.PATHS),
    ("Service", "Which model captions, whether all is well, and this description.", service.PATHS),
    ("Pages", "What people see; programs need none of it.", pages.PATHS),
)

#: How a key is sent, where the service asks for one.
KEY = {"type": "http", "scheme": "bearer", "description": "An API key, where keys have been made."}

DESCRIPTION = (
    "Send photographs, get a sentence for each. A picture is answered with a job at once; ask for the job until it is "
    "done, or let `Prefer: wait=10` hold the answer. Every error is an RFC 9457 problem."
)


@cache
def document() -> dict[str, Any]:
    """The OpenAPI 3.1 document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "captiond",
            "version": version("captiond"),
            "description": DESCRIPTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": description} for name, description, _ in GROUPS],
        "paths": {
            path: {method: {"tags": [name], **entry} for method, entry in entries.items()}
            for name, _, paths in GROUPS
            for path, entries in paths.items()
        },
        "webhooks": WEBHOOKS,
        "security": [{}, {"key": []}],
        "components": {"schemas": schemas(), "securitySchemes": {"key": KEY}},
    }
