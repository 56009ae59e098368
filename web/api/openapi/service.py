"""Operations of the models, workers and queue, of the health checks, of the metrics and of this description."""

from __future__ import annotations

from common import problems
from web.api.openapi import components
from web.api.openapi.components import operation, response
from web.api.openapi.schemas import STRING, ref

PATHS = {
    "/v1/models": {
        "get": operation(
            "listModels",
            "List the models that jobs can ask for.",
            {200: response("The models.", ref("Models"))},
            *components.COMMON_PROBLEMS,
        )
    },
    "/v1/workers": {
        "get": operation(
            "listWorkers",
            "List the worker processes. Requires the scope `admin` if there are API keys.",
            {200: response("The workers, latest heartbeat first.", ref("Workers"))},
            *components.COMMON_PROBLEMS,
        )
    },
    "/v1/queue": {
        "get": operation(
            "showQueue",
            "Count the jobs that wait, and the seconds that the oldest has waited.",
            {200: response("The waiting jobs of all API keys.", ref("Queue"))},
            *components.COMMON_PROBLEMS,
            parameters=[
                components.parameter(
                    "query",
                    "model",
                    "Name of a model: leaves out the jobs that ask for another one.",
                    STRING,
                )
            ],
        )
    },
    "/healthz": {
        "get": operation(
            "isAlive",
            "Liveness probe of the web server.",
            {200: response("The web server is alive.", ref("Alive"))},
            problems.INTERNAL,
        )
    },
    "/readyz": {
        "get": operation(
            "isReady",
            "Readiness probe: whether pictures are accepted now.",
            {200: response("Pictures are accepted.", ref("Ready"))},
            problems.INTERNAL,
            problems.STORE_UNAVAILABLE,
            problems.UPLOADS_UNAVAILABLE,
            problems.STORAGE_FULL,
        )
    },
    "/readyz/captioning": {
        "get": operation(
            "isCaptioning",
            "Probe of the workers: whether pictures are captioned now.",
            {200: response("A worker is ready.", ref("Captioning"))},
            problems.INTERNAL,
            problems.STORE_UNAVAILABLE,
            problems.NOT_READY,
        )
    },
    "/metrics": {
        "get": operation(
            "getMetrics",
            "State of the service in Prometheus' text format.",
            {200: response("The metrics.", STRING, media="text/plain")},
            *components.COMMON_PROBLEMS,
        )
    },
    "/openapi.json": {
        "get": operation(
            "getDescription",
            "Get this description as JSON.",
            {200: response("An OpenAPI 3.1 document.", {"type": "object", "required": ["openapi", "paths"]})},
            problems.INTERNAL,
            problems.UNKNOWN_HOST,
        )
    },
    "/docs": {
        "get": operation(
            "showDescription",
            "This description as an HTML page.",
            {200: response("An HTML page.", STRING, media="text/html")},
            problems.INTERNAL,
            problems.UNKNOWN_HOST,
            page=True,
        )
    },
}
