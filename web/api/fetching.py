"""Download the image of a job from the URL in the request."""

from __future__ import annotations

import io
import logging
from urllib.parse import unquote, urlsplit

from werkzeug.datastructures import FileStorage

from common import problems
from common.ingest import upload_too_large
from common.outbound import ResponseTooLarge, Unreachable, UrlNotAllowed
from web.services import Services
from web.submission import json_body

#: Seconds for the whole download, redirects included.
FETCH_TIMEOUT = 10.0
MAX_REDIRECTS = 3

log = logging.getLogger(__name__)


def fetched_image(services: Services) -> FileStorage:
    """The image at the `url` of the request's JSON body.

    Raises `bad-request`, `fetching-off`, `fetching-busy`, `url-not-allowed`, `fetch-failed` and `upload-too-large`.
    """
    return fetch_image(services, _requested_url(), FETCH_TIMEOUT)


def fetch_image(services: Services, url: str, timeout: float) -> FileStorage:
    """Download the image at `url` within `timeout` seconds; raises as `fetched_image` does, except `bad-request`."""
    if not services.settings.fetch_urls:
        raise problems.FETCHING_OFF(
            "This service does not download pictures from URLs. Send the picture itself, or ask the operator to set "
            "CAPTIOND_FETCH_URLS."
        )
    if not services.fetch_slots.acquire(blocking=False):
        raise problems.FETCHING_BUSY("Too many pictures are being downloaded. Send this again in a few seconds.")
    try:
        data = _fetch(services, url, timeout)
    finally:
        services.fetch_slots.release()
    return FileStorage(io.BytesIO(data), filename=unquote(urlsplit(url).path))


def _requested_url() -> str:
    body = json_body()
    if not isinstance(body, dict) or not isinstance(body.get("url"), str) or not body.keys() <= {"url", "options"}:
        raise problems.BAD_REQUEST(
            'A JSON body has the picture\'s URL, {"url": "https://..."}, and may have the member `options`.'
        )
    url: str = body["url"]
    return url


def _fetch(services: Services, url: str, timeout: float) -> bytes:
    limit = services.settings.max_upload_bytes
    try:
        response = services.outbound.request("GET", url, timeout=timeout, max_bytes=limit, max_redirects=MAX_REDIRECTS)
    except UrlNotAllowed as error:
        raise problems.URL_NOT_ALLOWED(error.args[0]) from error
    except ResponseTooLarge as error:
        raise upload_too_large(limit) from error
    except Unreachable as error:
        log.info("Failed to download a picture from %s: %s.", urlsplit(url).hostname, error)
        # The same detail for unreachable hosts and internal hosts: a difference would disclose internal host names.
        raise problems.FETCH_FAILED(
            "The picture could not be downloaded: no public server sent it in time. Check the URL, or send the "
            "picture itself."
        ) from error
    if response.status != 200:
        raise problems.FETCH_FAILED(
            "The server at this URL answered with status {status} and no picture. Check the URL, or send the picture "
            "itself.",
            status=response.status,
        )
    return response.body
