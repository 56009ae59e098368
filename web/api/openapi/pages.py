"""The pages for people, and their form without scripts."""

from __future__ import annotations

from web.api.openapi import parts
from web.api.openapi.parts import BATCH_ID, FILE, JOB_ID, answer, form, header, operation
from web.api.openapi.schemas import TEXT

PAGE = answer("A page.", TEXT, media="text/html")
FOLLOWING = {
    200: answer(
        "A page.",
        TEXT,
        media="text/html",
        headers={"Refresh": header("Seconds after which it loads itself anew.", parts.SECONDS, required=False)},
    )
}

START = {303: answer("To the start.", TEXT, media="text/html", headers=parts.LOCATION)}
SIGN_IN = {
    "type": "object",
    "description": "The form.",
    "properties": {"key": {**TEXT, "description": "The API key."}},
    "required": ["key"],
}

PATHS = {
    "/sign-in": {
        "post": operation(
            "signIn",
            "Keep an API key in a cookie.",
            START,
            *parts.CHANGE,
            body={"required": True, "content": {"application/x-www-form-urlencoded": {"schema": SIGN_IN}}},
            page=True,
        )
    },
    "/sign-out": {"post": operation("signOut", "Forget the cookie.", START, *parts.CHANGE, page=True)},
    "/": {
        "get": operation("showStart", "The page.", {200: PAGE}, *parts.ALWAYS, page=True),
        "post": operation(
            "sendForm",
            "What the page's form sends where no scripts run.",
            {303: answer("To the job, or the batch of several.", TEXT, media="text/html", headers=parts.LOCATION)},
            *parts.CHANGE,
            *parts.PICTURE,
            *parts.ADMISSION,
            body=form("The pictures.", {"images": {"type": "array", "items": FILE, "minItems": 1}}, ["images"]),
            page=True,
        ),
    },
    "/jobs/{job_id}": {
        "get": operation(
            "showJob", "A job, for people.", FOLLOWING, *parts.ALWAYS, *parts.JOB, parameters=[JOB_ID], page=True
        )
    },
    "/batches/{batch_id}": {
        "get": operation(
            "showBatch",
            "A batch, for people.",
            FOLLOWING,
            *parts.ALWAYS,
            *parts.BATCH,
            parameters=[BATCH_ID],
            page=True,
        )
    },
}
