"""The OpenAPI document, built once in each process."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from typing import Any

from web.api.openapi import annotation, batches, compat, jobs, pages, results, service
from web.api.openapi.schemas import schemas
from web.api.openapi.webhooks import WEBHOOKS

#: Tag, description and paths of each group of routes.
GROUPS = (
    ("Jobs", "Caption one picture.", jobs.PATHS),
    ("Batches", "Caption many pictures with one request.", {**batches.PATHS, **results.PATHS}),
    ("Service", "Models, health checks, metrics and this description.", service.PATHS),
    (
        "Other software",
        "Protocols of other software. Each is off unless `CAPTIOND_COMPAT` names it.",
        {**compat.PATHS, **annotation.PATHS},
    ),
    ("Pages", "HTML pages for people. API clients do not need them.", pages.PATHS),
)

#: The security scheme of the API keys.
KEY = {
    "type": "http",
    "scheme": "bearer",
    "description": "An API key. Required if the operator has created API keys.",
}

DESCRIPTION = (
    "Send photographs and get a caption for each. A picture creates a job, which is returned at once. Poll the job "
    "until it is finished, or send `Prefer: wait=10` to delay the response until then. Every error is an RFC 9457 "
    "problem, except in the protocols of other software, which have their own."
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
            path: {method: {"tags": [name], **operation} for method, operation in operations.items()}
            for name, _, paths in GROUPS
            for path, operations in paths.items()
        },
        "webhooks": WEBHOOKS,
        "security": [{}, {"key": []}],
        "components": {"schemas": schemas(), "securitySchemes": {"key": KEY}},
    }
