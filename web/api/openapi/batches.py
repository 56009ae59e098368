"""`/v1/batches`."""

from __future__ import annotations

from common import problems
from web.api.openapi import parts
from web.api.openapi.parts import BATCH_ID, FILE, answer, form, operation
from web.api.openapi.schemas import TEXT, ref

BATCH = ref("Batch")

PATHS = {
    "/v1/batches": {
        "post": operation(
            "createBatch",
            "Send many pictures; a bad one fails alone.",
            {202: answer("The batch.", BATCH, headers={**parts.LOCATION, **parts.RETRY_AFTER})},
            *parts.CHANGE,
            *parts.ADMISSION,
            problems.MISSING_IMAGE,
            problems.TOO_MANY_IMAGES,
            problems.URL_NOT_ALLOWED,
            parameters=[parts.WEBHOOK],
            body=form(
                "One `custom_id` for each of the `images`, in the same order, or none.",
                {
                    "images": {"type": "array", "items": FILE, "minItems": 1},
                    "custom_id": {"type": "array", "items": TEXT},
                },
                ["images"],
            ),
        )
    },
    "/v1/batches/{batch_id}": {
        "get": operation(
            "getBatch",
            "How many of a batch's pictures are in each state.",
            {200: answer("The batch.", BATCH)},
            *parts.ALWAYS,
            *parts.BATCH,
            parameters=[BATCH_ID],
        )
    },
    "/v1/batches/{batch_id}/results": {
        "get": operation(
            "getBatchResults",
            "What became of each picture, in the order they were sent, at any time.",
            {200: answer("A JSON object a line.", ref("Result"), media="application/jsonl")},
            *parts.ALWAYS,
            *parts.BATCH,
            parameters=[BATCH_ID],
        )
    },
    "/v1/batches/{batch_id}/cancel": {
        "post": operation(
            "cancelBatch",
            "Cancel what is open of a batch.",
            {200: answer("The batch.", BATCH)},
            *parts.CHANGE,
            *parts.BATCH,
            parameters=[BATCH_ID],
        )
    },
}
