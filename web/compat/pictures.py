"""Pictures in the JSON of other protocols: base64, `data:` URLs, and URLs to download."""

from __future__ import annotations

import base64
import binascii
import time
from dataclasses import dataclass
from typing import Any, cast

from flask import request

from common import problems
from common.ingest import upload_too_large
from web.api.fetching import FETCH_TIMEOUT, fetch_image
from web.services import Services
from web.submission import read_upload

#: Pictures of one request. Software that describes an event sends several frames of it; Frigate sends up to ten.
MAX_PICTURES = 16
#: Values of a JSON body, so that one of empty arrays does not become a thousand times its size in memory.
MAX_JSON_VALUES = 100_000
#: Seconds for the downloads of all pictures of a request.
DOWNLOADS_TIMEOUT = 15.0


@dataclass(frozen=True)
class Picture:
    """The content of a picture file, not yet checked, and its name if it has one."""

    data: bytes
    filename: str | None = None


def requested_json(max_values: int = MAX_JSON_VALUES) -> dict[str, Any]:
    """The request's JSON object, whatever its Content-Type: curl's default is that of a form.

    Raises `bad-request`.
    """
    data = request.get_data(cache=False)
    # Each value except the first of its container follows a comma, and each container has an opening bracket.
    if sum(data.count(mark) for mark in (b",", b"[", b"{")) > max_values:
        raise problems.BAD_REQUEST("The JSON has more than {limit} values.", limit=max_values)
    try:
        body = request.json_module.loads(data)
    except (ValueError, RecursionError) as error:  # for deeply nested arrays
        raise problems.BAD_REQUEST("The body is no valid JSON.") from error
    if not isinstance(body, dict):
        raise problems.BAD_REQUEST("The body must be a JSON object.")
    return cast("dict[str, Any]", body)


def read_pictures(services: Services, references: list[Any]) -> list[Picture]:
    """The pictures that a request refers to, each as base64, as a `data:` URL or as a URL to download.

    Raises `missing-image`, `too-many-images`, `bad-request`, `upload-too-large` and the problems of `fetch_image`.
    """
    if not references:
        raise problems.MISSING_IMAGE("The request has no picture. Captions are written for pictures only.")
    if len(references) > MAX_PICTURES:
        raise problems.TOO_MANY_IMAGES(
            "The request has {pictures} pictures; the maximum is {limit}. Send several requests.",
            pictures=len(references),
            limit=MAX_PICTURES,
        )
    deadline = time.monotonic() + DOWNLOADS_TIMEOUT
    return [_read_picture(services, reference, deadline) for reference in references]


def _read_picture(services: Services, reference: Any, deadline: float) -> Picture:
    if not isinstance(reference, str):
        raise problems.BAD_REQUEST("A picture must be text: base64, or a URL.")
    scheme = reference[:8].lower()
    if scheme.startswith(("http://", "https://")):
        # At least a second, so that a late download fails as unreachable instead of with an invalid timeout.
        timeout = min(FETCH_TIMEOUT, max(1.0, deadline - time.monotonic()))
        file = fetch_image(services, reference, timeout)
        return Picture(read_upload(file, services.settings.max_upload_bytes), file.filename)
    if scheme.startswith("data:"):
        # The media type is not read, because the content tells what it is.
        head, _, reference = reference.partition(",")
        if not head.lower().endswith(";base64"):
            raise problems.BAD_REQUEST("A `data:` URL of a picture must be in base64: data:image/jpeg;base64,...")
    return Picture(decode_base64(reference, services.settings.max_upload_bytes))


def decode_base64(text: str, limit: int) -> bytes:
    """Decode a file of at most `limit` bytes; line breaks are ignored. Raises `bad-request` or `upload-too-large`."""
    try:
        data = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:  # ValueError for other characters than ASCII
        raise problems.BAD_REQUEST("A picture is no valid base64.") from error
    if len(data) > limit:
        raise upload_too_large(limit)
    return data
