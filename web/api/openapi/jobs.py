"""Operations of `/v1/jobs`."""

from __future__ import annotations

from common import problems
from web.api.edits import MAX_CAPTION_LENGTH, MAX_EDITS
from web.api.jobs import (
    DEFAULT_IMAGE_SIZE,
    DEFAULT_PAGE_SIZE,
    MAX_IDEMPOTENCY_KEY_LENGTH,
    MAX_IMAGE_SIZE,
    MAX_PAGE_SIZE,
)
from web.api.openapi import components
from web.api.openapi.components import (
    IMAGE_FILE,
    JOB_ID,
    URL,
    bounded_integer,
    json_body,
    multipart_form,
    operation,
    parameter,
    response,
)
from web.api.openapi.schemas import STRING, nullable, object_schema, ref

JOB = ref("Job")

UPLOAD = multipart_form(
    "The picture as a form field.", {"image": IMAGE_FILE, "options": components.OPTIONS_FIELD}, ["image"]
)
UPLOAD["content"]["application/json"] = {
    "schema": {
        **object_schema("The URL of the picture, if the operator allows URLs.", url=URL, options=ref("CaptionOptions")),
        "required": ["url"],
    }
}
UPLOAD["content"]["image/*"] = UPLOAD["content"]["application/octet-stream"] = {"schema": IMAGE_FILE}

EDITED_CAPTION = nullable(
    {
        **STRING,
        "minLength": 1,
        "maxLength": MAX_CAPTION_LENGTH,
        "description": "A person's caption on one line, or null for the model's caption again.",
    }
)
EDITS = {
    "type": "object",
    "description": "Captions by job id.",
    "additionalProperties": EDITED_CAPTION,
    "minProperties": 1,
    "maxProperties": MAX_EDITS,
}

PATHS = {
    "/v1/jobs": {
        "post": operation(
            "createJob",
            "Create a job that captions one picture.",
            {
                201: response(
                    "The job, already finished.",
                    JOB,
                    headers={**components.LOCATION, **components.PREFERENCE_APPLIED},
                ),
                202: response(
                    "The job, queued.",
                    JOB,
                    headers={**components.LOCATION, **components.RETRY_AFTER, **components.PREFERENCE_APPLIED},
                ),
            },
            *components.WRITE_PROBLEMS,
            *components.IMAGE_PROBLEMS,
            *components.ADMISSION_PROBLEMS,
            problems.IDEMPOTENCY_CONFLICT,
            problems.URL_NOT_ALLOWED,
            problems.FETCHING_OFF,
            problems.FETCHING_BUSY,
            problems.FETCH_FAILED,
            parameters=[
                components.PREFER,
                components.WEBHOOK_URL,
                components.OPTIONS_QUERY,
                components.CANCEL_AFTER,
                components.TRACEPARENT,
                parameter(
                    "header",
                    "Idempotency-Key",
                    "A repeated request with the same key returns the job of the first request.",
                    {**STRING, "minLength": 1, "maxLength": MAX_IDEMPOTENCY_KEY_LENGTH},
                ),
                components.FILENAME,
            ],
            body=UPLOAD,
        ),
        "get": operation(
            "listJobs",
            "List jobs, newest first.",
            {200: response("One page of jobs.", ref("JobList"))},
            *components.COMMON_PROBLEMS,
            problems.BAD_REQUEST,
            parameters=[
                components.STATUS,
                components.limit("jobs", MAX_PAGE_SIZE, DEFAULT_PAGE_SIZE),
                components.CURSOR,
            ],
        ),
        "patch": operation(
            "editJobs",
            "Set or remove the captions that people wrote, of all the jobs or, if one cannot be changed, of none.",
            {200: response("The jobs, in the order of the request.", ref("EditedJobs"))},
            *components.WRITE_PROBLEMS,
            *components.JOB_PROBLEMS,
            problems.NOT_CAPTIONED,
            body=json_body(object_schema("Captions of several jobs.", captions=EDITS)),
        ),
    },
    "/v1/jobs/{job_id}": {
        "get": operation(
            "getJob",
            "Get a job: its status, and its caption once it has succeeded.",
            {
                200: response("The job.", JOB, headers={**components.ETAG, **components.PREFERENCE_APPLIED}),
                304: response("The job has not changed.", headers={**components.ETAG, **components.PREFERENCE_APPLIED}),
            },
            *components.COMMON_PROBLEMS,
            *components.JOB_PROBLEMS,
            parameters=[JOB_ID, components.PREFER, components.IF_NONE_MATCH],
        ),
        "delete": operation(
            "deleteJob",
            "Delete a job and its picture.",
            {204: response("The job and its picture are deleted.")},
            *components.WRITE_PROBLEMS,
            *components.JOB_PROBLEMS,
            problems.UPLOADS_UNAVAILABLE,
            parameters=[JOB_ID],
        ),
        "patch": operation(
            "editJob",
            "Set the caption that a person wrote, or remove it. The model's caption stays in `output`.",
            {200: response("The job.", JOB)},
            *components.WRITE_PROBLEMS,
            *components.JOB_PROBLEMS,
            problems.NOT_CAPTIONED,
            parameters=[JOB_ID],
            body=json_body(object_schema("The caption.", caption=EDITED_CAPTION)),
        ),
    },
    "/v1/jobs/{job_id}/cancel": {
        "post": operation(
            "cancelJob",
            "Cancel a job. A finished job is returned unchanged.",
            {200: response("The job.", JOB)},
            *components.WRITE_PROBLEMS,
            *components.JOB_PROBLEMS,
            parameters=[JOB_ID],
        )
    },
    "/v1/jobs/{job_id}/retry": {
        "post": operation(
            "retryJob",
            "Queue a failed or canceled job again, if its picture is stored. Another job is returned unchanged.",
            {200: response("The job.", JOB)},
            *components.WRITE_PROBLEMS,
            *components.JOB_PROBLEMS,
            problems.QUEUE_FULL,
            problems.QUOTA_USED_UP,
            parameters=[JOB_ID],
        )
    },
    "/v1/jobs/{job_id}/image": {
        "get": operation(
            "getJobImage",
            "Get the picture, re-encoded as JPEG without metadata.",
            {
                200: response("The picture.", IMAGE_FILE, media="image/jpeg", headers=components.ETAG),
                304: response("The picture has not changed.", headers=components.ETAG),
            },
            *components.COMMON_PROBLEMS,
            *components.JOB_PROBLEMS,
            problems.BAD_REQUEST,
            problems.NOT_FOUND,
            problems.UPLOAD_LOST,
            problems.UPLOADS_UNAVAILABLE,
            parameters=[
                JOB_ID,
                parameter(
                    "query",
                    "size",
                    "Maximum width and height in pixels.",
                    bounded_integer(MAX_IMAGE_SIZE, DEFAULT_IMAGE_SIZE),
                ),
                components.IF_NONE_MATCH,
            ],
        )
    },
}
