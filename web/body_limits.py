"""Limits on the size of request bodies.

`web.server` applies `max_body_bytes` before the application sees a request; `set_limits` applies the limits to forms.
"""

from __future__ import annotations

from flask import Flask, request

from common.keyring import Keyring
from common.settings import Settings
from web.auth.access import secret_of

#: Bytes of a form in addition to its image.
FORM_OVERHEAD = 64 * 1024
#: Bytes of a batch in addition to its images.
BATCH_OVERHEAD = 2**20
#: Images of one form, because each is a temporary file while the request is handled. An archive may have more.
MAX_FORM_IMAGES = 1000
#: Endpoints that accept as many images as a batch, and their paths.
BATCH_ENDPOINTS = frozenset({"batches.create", "pages.upload"})
BATCH_PATHS = frozenset({"/v1/batches", "/"})
#: Paths of `web.compat` that accept pictures as base64 in JSON.
BASE64_PATHS = frozenset(
    {
        "/openai/v1/chat/completions",
        "/api/generate",
        "/api/chat",
        "/huggingface/image-to-text",
        "/api/v1/vision/caption",
        "/label-studio/predict",
        "/mcp",
    }
)


def set_limits(app: Flask, settings: Settings) -> None:
    """Set Flask's limits on forms. Must be called before any other hook that reads a form."""
    app.config["MAX_CONTENT_LENGTH"] = settings.max_upload_bytes + FORM_OVERHEAD

    @app.before_request
    def allow_batches() -> None:
        if request.endpoint in BATCH_ENDPOINTS:
            request.max_content_length = settings.max_batch_bytes
            # An image and a `custom_id` for each job, the `options`, and one part more so that one image too many is
            # reported.
            request.max_form_parts = 2 * max_form_images(settings) + 2
        elif request.path in BASE64_PATHS:
            request.max_content_length = max_base64_bytes(settings)


def max_form_images(settings: Settings) -> int:
    """Maximum number of images in one form."""
    return min(settings.max_batch_items, MAX_FORM_IMAGES)


def max_base64_bytes(settings: Settings) -> int:
    """Maximum size of a JSON body with pictures as base64: of all of them together as of one uploaded picture."""
    return settings.max_upload_bytes * 4 // 3 + FORM_OVERHEAD


def max_body_bytes(settings: Settings, keyring: Keyring, path: str, headers: dict[str, str]) -> int:
    """Maximum body of a request in bytes. Without a required key it suffices for the sign-in form only."""
    secret, _ = secret_of(headers.get("AUTHORIZATION"), headers.get("COOKIE"))
    if keyring.needed and (secret is None or not keyring.knows(secret)):
        return FORM_OVERHEAD
    if path in BASE64_PATHS:
        return max_base64_bytes(settings)
    return settings.max_batch_bytes if path in BATCH_PATHS else settings.max_upload_bytes + FORM_OVERHEAD
