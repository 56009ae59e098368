"""The webhook requests that the service sends."""

from __future__ import annotations

from web.api.openapi.components import Component, operation, parameter, response
from web.api.openapi.schemas import STRING, ref

HEADERS = {
    "webhook-id": "The id of the job or batch. It stays the same when a delivery is repeated.",
    "webhook-timestamp": "Unix time of this delivery in seconds.",
    "webhook-signature": "The signature, as defined by Standard Webhooks.",
}

WEBHOOKS: dict[str, Component] = {
    "ended": {
        "post": {
            **operation(
                "receiveEvent",
                "A job has finished, or all jobs of a batch have finished.",
                {
                    200: response("The event was received. Any other status than 2xx and 410 causes a retry."),
                    410: response("The receiver wants no further deliveries of this event."),
                },
                parameters=[parameter("header", name, description, STRING) for name, description in HEADERS.items()],
            ),
            "requestBody": {"content": {"application/json": {"schema": ref("Event")}}},
        }
    }
}
