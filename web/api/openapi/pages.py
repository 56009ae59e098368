"""Operations of the HTML pages and of their forms."""

from __future__ import annotations

from common import problems
from common.translation import LANGUAGES
from web.api.openapi import components
from web.api.openapi.components import BATCH_ID, IMAGE_FILE, JOB_ID, multipart_form, operation, response
from web.api.openapi.schemas import STRING

PAGE = response("An HTML page.", STRING, media="text/html")
REDIRECT_TO_START = {
    303: response("Redirect to the start page.", STRING, media="text/html", headers=components.LOCATION)
}
SIGN_IN_FORM = {
    "type": "object",
    "description": "The sign-in form.",
    "properties": {"key": {**STRING, "description": "The API key."}},
    "required": ["key"],
}
LANGUAGE_FORM = {
    "type": "object",
    "description": "The chosen language.",
    "properties": {
        "language": {**STRING, "enum": list(LANGUAGES), "description": "The language."},
        "page": {**STRING, "description": "The path of the page to return to; the start page if there is none."},
    },
    "required": ["language"],
}

PATHS = {
    "/sign-in": {
        "post": operation(
            "signIn",
            "Store an API key in a cookie.",
            REDIRECT_TO_START,
            *components.WRITE_PROBLEMS,
            body={"required": True, "content": {"application/x-www-form-urlencoded": {"schema": SIGN_IN_FORM}}},
            page=True,
        )
    },
    "/sign-out": {
        "post": operation("signOut", "Delete the cookie.", REDIRECT_TO_START, *components.WRITE_PROBLEMS, page=True)
    },
    "/language": {
        "post": operation(
            "chooseLanguage",
            "Store the language of the pages and of problems in a cookie.",
            {303: response("Redirect to the page.", STRING, media="text/html", headers=components.LOCATION)},
            *components.WRITE_PROBLEMS,
            body={"required": True, "content": {"application/x-www-form-urlencoded": {"schema": LANGUAGE_FORM}}},
            page=True,
        )
    },
    "/": {
        "get": operation(
            "showStart",
            "The start page, with a page of the batches.",
            {200: PAGE},
            *components.COMMON_PROBLEMS,
            problems.BAD_REQUEST,
            parameters=[components.CURSOR],
            page=True,
        ),
        "post": operation(
            "sendForm",
            "Submit the form of the start page. Browsers use it when JavaScript is disabled.",
            {
                303: response(
                    "Redirect to the page of the job, or of the batch if there are several pictures.",
                    STRING,
                    media="text/html",
                    headers=components.LOCATION,
                )
            },
            *components.WRITE_PROBLEMS,
            *components.IMAGE_PROBLEMS,
            *components.ADMISSION_PROBLEMS,
            body=multipart_form(
                "The pictures.", {"images": {"type": "array", "items": IMAGE_FILE, "minItems": 1}}, ["images"]
            ),
            page=True,
        ),
    },
    "/workers": {
        "get": operation(
            "showWorkers",
            "The page of the workers and of the queue. Requires the scope `admin` if there are API keys.",
            {200: PAGE},
            *components.COMMON_PROBLEMS,
            page=True,
        )
    },
    "/jobs/{job_id}": {
        "get": operation(
            "showJob",
            "The page of a job.",
            {200: PAGE},
            *components.COMMON_PROBLEMS,
            *components.JOB_PROBLEMS,
            parameters=[JOB_ID],
            page=True,
        )
    },
    "/batches/{batch_id}": {
        "get": operation(
            "showBatch",
            "The page of a batch, with a page of its jobs.",
            {200: PAGE},
            *components.COMMON_PROBLEMS,
            *components.BATCH_PROBLEMS,
            problems.BAD_REQUEST,
            parameters=[BATCH_ID, components.CURSOR],
            page=True,
        )
    },
}
