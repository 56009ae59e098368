"""Operations of `/v1/batches`."""

from __future__ import annotations

from common import problems
from web.api.openapi import components
from web.api.openapi.components import BATCH_ID, IMAGE_FILE, multipart_form, operation, response
from web.api.openapi.schemas import STRING, ref

BATCH = ref("Batch")

PATHS = {
    "/v1/batches": {
        "post": operation(
            "createBatch",
            "Create a batch: one job for each picture. An invalid picture fails without affecting the others.",
            {202: response("The batch.", BATCH, headers={**components.LOCATION, **components.RETRY_AFTER})},
            *components.WRITE_PROBLEMS,
            *components.ADMISSION_PROBLEMS,
            problems.MISSING_IMAGE,
            problems.TOO_MANY_IMAGES,
            problems.URL_NOT_ALLOWED,
            parameters=[components.WEBHOOK_URL],
            body=multipart_form(
                "Either one `custom_id` for each of the `images`, in the same order, or no `custom_id` at all.",
                {
                    "images": {"type": "array", "items": IMAGE_FILE, "minItems": 1},
                    "custom_id": {"type": "array", "items": STRING},
                    "options": components.OPTIONS_FIELD,
                },
                ["images"],
            ),
        )
    },
    "/v1/batches/{batch_id}": {
        "get": operation(
            "getBatch",
            "Get a batch and the number of its jobs in each status.",
            {200: response("The batch.", BATCH)},
            *components.COMMON_PROBLEMS,
            *components.BATCH_PROBLEMS,
            parameters=[BATCH_ID],
        )
    },
    "/v1/batches/{batch_id}/results": {
        "get": operation(
            "getBatchResults",
            "Get the result of each picture, in the order of submission. Unfinished jobs are included.",
            {200: response("One JSON object on each line.", ref("Result"), media="application/jsonl")},
            *components.COMMON_PROBLEMS,
            *components.BATCH_PROBLEMS,
            parameters=[BATCH_ID],
        )
    },
    "/v1/batches/{batch_id}/cancel": {
        "post": operation(
            "cancelBatch",
            "Cancel the unfinished jobs of a batch.",
            {200: response("The batch.", BATCH)},
            *components.WRITE_PROBLEMS,
            *components.BATCH_PROBLEMS,
            parameters=[BATCH_ID],
        )
    },
}
