"""Limits on the body of a request, all in one place.

`web.server` asks `largest_body` before the application sees a request; `limit` holds the application's forms to them.
"""

from __future__ import annotations

from flask import Flask, request

from common.keyring import Keyring
from common.settings import Settings
from web.auth.access import secret_of

#: Bytes that a form may have beside its image.
FORM_OVERHEAD = 64 * 1024
#: Bytes that a batch may have beside its images.
BATCH_OVERHEAD = 2**20
#: Endpoints, and their paths, whose forms may have as many images as a batch.
BATCH_ENDPOINTS = frozenset({"batches.create", "pages.upload"})
BATCH_PATHS = frozenset({"/v1/batches", "/"})


def limit(app: Flask, settings: Settings) -> None:
    """Hold the forms of `app` to the limits. Called before anything that reads a form."""
    app.config["MAX_CONTENT_LENGTH"] = settings.max_upload_bytes + FORM_OVERHEAD

    @app.before_request
    def allow_batches() -> None:
        if request.endpoint in BATCH_ENDPOINTS:
            request.max_content_length = settings.max_batch_bytes
            request.max_form_parts = 2 * settings.max_batch_items + 1  # an image and a `custom_id` each, and one more


def largest_body(settings: Settings, keyring: Keyring, path: str, headers: dict[str, str]) -> int:
    """Bytes that the sender of a request may send. Without the key that is needed, no more than the sign-in form."""
    secret, _ = secret_of(headers.get("AUTHORIZATION"), headers.get("COOKIE"))
    if keyring.needed and (secret is None or keyring.find(secret) is None):
        return FORM_OVERHEAD
    return settings.max_batch_bytes if path in BATCH_PATHS else settings.max_upload_bytes + FORM_OVERHEAD
