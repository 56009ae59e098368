"""The service itself: its models, its health, and this description."""

from __future__ import annotations

from common import problems
from web.api.openapi import parts
from web.api.openapi.parts import answer, operation
from web.api.openapi.schemas import TEXT, ref

PATHS = {
    "/v1/models": {
        "get": operation(
            "listModels",
            "The models that live workers announce, and which one captions.",
            {200: answer("The models.", ref("Models"))},
            *parts.ALWAYS,
        )
    },
    "/healthz": {
        "get": operation(
            "isAlive", "Whether the web server answers.", {200: answer("It does.", ref("Alive"))}, problems.INTERNAL
        )
    },
    "/readyz": {
        "get": operation(
            "isReady",
            "Whether a picture sent now would be captioned.",
            {200: answer("It would.", ref("Ready"))},
            problems.INTERNAL,
            problems.STORE_UNAVAILABLE,
            problems.NOT_READY,
        )
    },
    "/openapi.json": {
        "get": operation(
            "getDescription",
            "This description, for programs.",
            {200: answer("An OpenAPI 3.1 document.", {"type": "object", "required": ["openapi", "paths"]})},
            problems.INTERNAL,
            problems.UNKNOWN_HOST,
        )
    },
    "/docs": {
        "get": operation(
            "showDescription",
            "This description, for people.",
            {200: answer("A page.", TEXT, media="text/html")},
            problems.INTERNAL,
            problems.UNKNOWN_HOST,
            page=True,
        )
    },
}
