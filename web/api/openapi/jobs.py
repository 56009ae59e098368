"""`/v1/jobs`."""

from __future__ import annotations

from common import problems
from common.jobs import Status
from web.api.jobs import KEY_LENGTH, LARGEST_SIDE, LONGEST_PAGE, PAGE, SIDE
from web.api.openapi import parts
from web.api.openapi.parts import FILE, JOB_ID, URL, answer, form, operation, parameter, whole_number
from web.api.openapi.schemas import TEXT, closed, ref

JOB = ref("Job")

UPLOAD = form("A form's field.", {"image": FILE}, ["image"])
UPLOAD["content"]["application/json"] = {"schema": closed("Where the picture is, if that is allowed.", url=URL)}
UPLOAD["content"]["image/*"] = UPLOAD["content"]["application/octet-stream"] = {"schema": FILE}

PATHS = {
    "/v1/jobs": {
        "post": operation(
            "createJob",
            "Send a picture.",
            {
                201: answer("Its caption is there already.", JOB, headers={**parts.LOCATION, **parts.APPLIED}),
                202: answer("It waits.", JOB, headers={**parts.LOCATION, **parts.RETRY_AFTER, **parts.APPLIED}),
            },
            *parts.CHANGE,
            *parts.PICTURE,
            *parts.ADMISSION,
            problems.IDEMPOTENCY_CONFLICT,
            problems.URL_NOT_ALLOWED,
            problems.FETCHING_OFF,
            problems.FETCHING_BUSY,
            problems.FETCH_FAILED,
            parameters=[
                parts.PREFER,
                parts.WEBHOOK,
                parameter(
                    "header",
                    "Idempotency-Key",
                    "A request with a key that was sent before gives the earlier job.",
                    {**TEXT, "minLength": 1, "maxLength": KEY_LENGTH},
                ),
                parameter("header", "X-Filename", "The file's name, for a body that is the picture itself.", TEXT),
            ],
            body=UPLOAD,
        ),
        "get": operation(
            "listJobs",
            "The newest jobs, in pages.",
            {200: answer("A page.", ref("JobList"))},
            *parts.ALWAYS,
            problems.BAD_REQUEST,
            parameters=[
                parameter("query", "status", "Only jobs in this state.", {**TEXT, "enum": [*Status]}),
                parameter("query", "limit", "Most jobs on the page.", whole_number(LONGEST_PAGE, PAGE)),
                parameter("query", "cursor", "The `next` of the page before.", {**TEXT, "format": "uuid"}),
            ],
        ),
    },
    "/v1/jobs/{job_id}": {
        "get": operation(
            "getJob",
            "Where a job stands, and its caption.",
            {
                200: answer("The job.", JOB, headers={**parts.ETAG, **parts.APPLIED}),
                304: answer("It is as you know it.", headers={**parts.ETAG, **parts.APPLIED}),
            },
            *parts.ALWAYS,
            *parts.JOB,
            parameters=[JOB_ID, parts.PREFER, parts.IF_NONE_MATCH],
        ),
        "delete": operation(
            "deleteJob",
            "Delete a job's record and picture, at once.",
            {204: answer("Both are gone.")},
            *parts.CHANGE,
            *parts.JOB,
            problems.UPLOADS_UNAVAILABLE,
            parameters=[JOB_ID],
        ),
    },
    "/v1/jobs/{job_id}/cancel": {
        "post": operation(
            "cancelJob",
            "Cancel a job; one that is done stays as it is.",
            {200: answer("The job.", JOB)},
            *parts.CHANGE,
            *parts.JOB,
            parameters=[JOB_ID],
        )
    },
    "/v1/jobs/{job_id}/image": {
        "get": operation(
            "getJobImage",
            "The picture, encoded anew and without metadata.",
            {
                200: answer("The picture.", FILE, media="image/jpeg", headers=parts.ETAG),
                304: answer("It is as you know it.", headers=parts.ETAG),
            },
            *parts.ALWAYS,
            *parts.JOB,
            problems.BAD_REQUEST,
            problems.NOT_FOUND,
            problems.UPLOAD_LOST,
            problems.UPLOADS_UNAVAILABLE,
            parameters=[
                JOB_ID,
                parameter("query", "size", "Pixels that it fits into.", whole_number(LARGEST_SIDE, SIDE)),
                parts.IF_NONE_MATCH,
            ],
        )
    },
}
