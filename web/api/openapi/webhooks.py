"""What the service sends by itself."""

from __future__ import annotations

from web.api.openapi.parts import Part, answer, operation, parameter
from web.api.openapi.schemas import TEXT, ref

HEADERS = {
    "webhook-id": "The job's or the batch's id: the same however often an event is sent.",
    "webhook-timestamp": "Seconds of the Unix time at which it was sent.",
    "webhook-signature": "As Standard Webhooks says.",
}

WEBHOOKS: dict[str, Part] = {
    "ended": {
        "post": {
            **operation(
                "tellEnd",
                "A job has ended, or none of a batch's pictures is open any more.",
                {
                    200: answer("You know it now; any 2xx will do. Anything else but 410 is tried again."),
                    410: answer("You want no more of it."),
                },
                parameters=[parameter("header", name, says, TEXT) for name, says in HEADERS.items()],
            ),
            "requestBody": {"content": {"application/json": {"schema": ref("Event")}}},
        }
    }
}
