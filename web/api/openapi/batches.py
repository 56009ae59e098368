"""Operations of `/v1/batches`."""

from __future__ import annotations

from common import problems
from common.ingest import MAX_CUSTOM_ID_LENGTH, MAX_NAME_LENGTH
from common.manifest_records import ResultFormat
from web.api.batches import ARCHIVE_TYPES, DEFAULT_PAGE_SIZE, MAX_JOBS_PAGE_SIZE, MAX_PAGE_SIZE
from web.api.openapi import components
from web.api.openapi.components import BATCH_ID, IMAGE_FILE, multipart_form, operation, parameter, response
from web.api.openapi.schemas import STRING, Schema, ref

BATCH = ref("Batch")
ARCHIVE_FILE: Schema = {"type": "string", "format": "binary", "description": "A ZIP file with pictures."}
CUSTOM_ID: Schema = {**STRING, "maxLength": MAX_CUSTOM_ID_LENGTH}

NEW_BATCH = multipart_form(
    "Either `images`, with one `custom_id` for each of them in the same order or none at all, or one `archive`.",
    {
        "images": {"type": "array", "items": IMAGE_FILE, "minItems": 1},
        "custom_id": {"type": "array", "items": STRING},
        "archive": ARCHIVE_FILE,
        "options": components.OPTIONS_FIELD,
    },
    [],
)
NEW_BATCH["content"]["application/json"] = {
    "schema": {
        "type": "object",
        "description": "An open batch, which takes items until it is sealed; or, with `manifest`, a batch of the "
        "pictures that a manifest names.",
        "properties": {
            "name": {**STRING, "minLength": 1, "maxLength": MAX_NAME_LENGTH},
            "options": components.OPTIONS_FIELD,
            "manifest": {
                **STRING,
                "description": "URL of a manifest, or of a folder, below one of `CAPTIOND_MANIFEST_ROOTS`.",
            },
            "output": {
                **STRING,
                "description": "Folder of the results, below `CAPTIOND_RESULTS_URL`; by default the id of the batch.",
            },
            "format": {"enum": [*ResultFormat], "default": ResultFormat.JSONL.value},
        },
        "additionalProperties": False,
    }
}
NEW_BATCH["content"] |= {media: {"schema": ARCHIVE_FILE} for media in sorted(ARCHIVE_TYPES)}

ITEM = multipart_form("The picture as a form field.", {"image": IMAGE_FILE, "custom_id": CUSTOM_ID}, ["image"])
ITEM["content"]["image/*"] = ITEM["content"]["application/octet-stream"] = {"schema": IMAGE_FILE}

PATHS = {
    "/v1/batches": {
        "post": operation(
            "createBatch",
            "Create a batch: one job for each picture. An invalid picture fails without affecting the others.",
            {
                201: response("The batch, open for items.", BATCH, headers=components.LOCATION),
                202: response("The batch.", BATCH, headers={**components.LOCATION, **components.RETRY_AFTER}),
            },
            *components.WRITE_PROBLEMS,
            *components.ADMISSION_PROBLEMS,
            problems.EMPTY_UPLOAD,
            problems.MISSING_IMAGE,
            problems.TOO_MANY_IMAGES,
            problems.URL_NOT_ALLOWED,
            problems.MANIFESTS_OFF,
            problems.BAD_MANIFEST,
            parameters=[
                components.WEBHOOK_URL,
                components.CANCEL_AFTER,
                components.FILENAME,
                components.OPTIONS_QUERY,
                components.TRACEPARENT,
            ],
            body=NEW_BATCH,
        ),
        "get": operation(
            "listBatches",
            "List batches, newest first.",
            {200: response("One page of batches.", ref("BatchList"))},
            *components.COMMON_PROBLEMS,
            problems.BAD_REQUEST,
            parameters=[components.limit("batches", MAX_PAGE_SIZE, DEFAULT_PAGE_SIZE), components.CURSOR],
        ),
    },
    "/v1/batches/{batch_id}": {
        "get": operation(
            "getBatch",
            "Get a batch and the number of its jobs in each status.",
            {200: response("The batch.", BATCH)},
            *components.COMMON_PROBLEMS,
            *components.BATCH_PROBLEMS,
            parameters=[BATCH_ID],
        ),
        "delete": operation(
            "deleteBatch",
            "Delete a batch with its jobs and pictures. Those of a large batch are deleted within a minute.",
            {204: response("The batch is deleted.")},
            *components.WRITE_PROBLEMS,
            *components.BATCH_PROBLEMS,
            problems.UPLOADS_UNAVAILABLE,
            parameters=[BATCH_ID],
        ),
    },
    "/v1/batches/{batch_id}/items": {
        "post": operation(
            "addItem",
            "Add a picture to an open batch. A repeated request with the same `custom_id` and picture adds it once.",
            {
                200: response(
                    "The job that the batch already has for this `custom_id`.",
                    ref("Job"),
                    headers={**components.LOCATION, **components.RETRY_AFTER},
                ),
                202: response("The job.", ref("Job"), headers={**components.LOCATION, **components.RETRY_AFTER}),
            },
            *components.WRITE_PROBLEMS,
            *components.IMAGE_PROBLEMS,
            *components.ADMISSION_PROBLEMS,
            *components.BATCH_PROBLEMS,
            problems.BATCH_SEALED,
            problems.CUSTOM_ID_CONFLICT,
            parameters=[
                BATCH_ID,
                parameter("query", "custom_id", "For a body that is the picture; by default the file name.", CUSTOM_ID),
                components.FILENAME,
                components.TRACEPARENT,
            ],
            body=ITEM,
        )
    },
    "/v1/batches/{batch_id}/seal": {
        "post": operation(
            "sealBatch",
            "Seal an open batch: it takes no more items, and is completed when its jobs are finished.",
            {200: response("The batch.", BATCH)},
            *components.WRITE_PROBLEMS,
            *components.BATCH_PROBLEMS,
            parameters=[BATCH_ID],
        )
    },
    "/v1/batches/{batch_id}/jobs": {
        "get": operation(
            "listBatchJobs",
            "List the jobs of a batch, in the order of submission.",
            {200: response("One page of jobs.", ref("JobList"))},
            *components.COMMON_PROBLEMS,
            *components.BATCH_PROBLEMS,
            problems.BAD_REQUEST,
            parameters=[
                BATCH_ID,
                components.STATUS,
                components.limit("jobs", MAX_JOBS_PAGE_SIZE, DEFAULT_PAGE_SIZE),
                components.CURSOR,
            ],
        )
    },
    "/v1/batches/{batch_id}/cancel": {
        "post": operation(
            "cancelBatch",
            "Cancel the unfinished jobs of a batch, which takes no more items.",
            {200: response("The batch.", BATCH)},
            *components.WRITE_PROBLEMS,
            *components.BATCH_PROBLEMS,
            parameters=[BATCH_ID],
        )
    },
    "/v1/batches/{batch_id}/retry": {
        "post": operation(
            "retryBatch",
            "Queue the failed and canceled jobs of a batch again, as far as their pictures are stored.",
            {200: response("The batch.", BATCH)},
            *components.WRITE_PROBLEMS,
            *components.BATCH_PROBLEMS,
            problems.QUEUE_FULL,
            problems.QUOTA_USED_UP,
            parameters=[BATCH_ID],
        )
    },
}
