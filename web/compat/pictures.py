"""The JSON of other protocols, and the pictures in it: base64, `data:` URLs, and URLs to download."""

from __future__ import annotations

import base64
import time
from dataclasses import dataclass
from typing import Any, cast

from flask import request

from common import problems
from common.ingest import upload_too_large
from web.api.fetching import FETCH_TIMEOUT, fetch_image
from web.services import Services

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


def requested_text(body: dict[str, Any], name: str) -> str:
    """The member `name` of a JSON object, empty if it is absent or null; raises `bad-request` if it is not text."""
    value = body.get(name)
    if not isinstance(value, str | None):
        raise problems.BAD_REQUEST("`{name}` must be text.", name=name)
    return value or ""


def take_list(body: dict[str, Any], name: str) -> list[Any]:
    """Remove the list `name` from a JSON object and return it; empty if it is absent or null.

    Removed, so that pictures in base64 do not stay in memory while the request waits. Raises `bad-request` if it is
    something else.
    """
    value = body.pop(name, None)
    if not isinstance(value, list | None):
        raise problems.BAD_REQUEST("`{name}` must be a list.", name=name)
    return value or []


def read_pictures(services: Services, references: list[Any]) -> list[Picture]:
    """The pictures that a request refers to, each as base64, as a `data:` URL or as a URL to download.

    Together they may have as many bytes as one uploaded picture. Raises `missing-image`, `too-many-images`,
    `bad-request`, `upload-too-large` and the problems of `fetch_image`.
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
    pictures: list[Picture] = []
    size, limit = 0, services.settings.max_upload_bytes
    for reference in references:
        pictures.append(_read_picture(services, reference, deadline))
        size += len(pictures[-1].data)
        if size > limit:
            raise upload_too_large(limit)
    return pictures


def _read_picture(services: Services, reference: Any, deadline: float) -> Picture:
    if not isinstance(reference, str):
        raise problems.BAD_REQUEST("A picture must be text: base64, or a URL.")
    scheme = reference[:8].lower()
    if scheme.startswith(("http://", "https://")):
        file = fetch_image(services, reference, max(0, min(FETCH_TIMEOUT, deadline - time.monotonic())))
        return Picture(file.stream.read(), file.filename)
    if scheme.startswith("data:"):
        # The media type is not read, because the content tells what it is.
        head, _, reference = reference.partition(",")
        if not head.lower().endswith(";base64"):
            raise problems.BAD_REQUEST("A `data:` URL of a picture must be in base64: data:image/jpeg;base64,...")
    try:
        return Picture(base64.b64decode("".join(reference.split()), validate=True))  # it may be in lines
    except ValueError as error:  # also for other characters than ASCII
        raise problems.BAD_REQUEST("A picture is no valid base64.") from error
