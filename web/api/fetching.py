"""Fetches a picture from the URL that a request gives instead of it."""

from __future__ import annotations

import io
import logging
from typing import Any
from urllib.parse import unquote, urlsplit

from flask import request
from werkzeug.datastructures import FileStorage

from common import problems
from common.outbound import ResponseTooLarge, Unreachable, UrlNotAllowed
from web.services import Services
from web.submission import too_large

#: Seconds for the whole fetch, and redirects followed within it.
FETCH_SECONDS = 10.0
REDIRECTS = 3

log = logging.getLogger(__name__)


def fetched_image(services: Services) -> FileStorage:
    """The picture at the `url` of the request's JSON.

    Raises `fetching-off`, `fetching-busy`, `url-not-allowed`, `fetch-failed` and `upload-too-large`.
    """
    url = _given_url()
    if not services.settings.fetch_urls:
        raise problems.FETCHING_OFF(
            "This service fetches no pictures; send the picture itself. Its operator may set CAPTIOND_FETCH_URLS."
        )
    if not services.may_fetch.acquire(blocking=False):
        raise problems.FETCHING_BUSY("Several pictures are being fetched already. Send this again in a few seconds.")
    try:
        data = _fetch(services, url)
    finally:
        services.may_fetch.release()
    return FileStorage(io.BytesIO(data), filename=unquote(urlsplit(url).path))


def _given_url() -> str:
    given: Any = request.get_json(silent=True)
    if not isinstance(given, dict) or given.keys() != {"url"} or not isinstance(given["url"], str):
        raise problems.BAD_REQUEST('A JSON body has one member, the picture\'s URL: {"url": "https://..."}.')
    url: str = given["url"]
    return url


def _fetch(services: Services, url: str) -> bytes:
    limit = services.settings.max_upload_bytes
    try:
        answer = services.outbound.request("GET", url, timeout=FETCH_SECONDS, max_bytes=limit, max_redirects=REDIRECTS)
    except UrlNotAllowed as error:
        raise problems.URL_NOT_ALLOWED(str(error)) from error
    except ResponseTooLarge as error:
        raise too_large(limit) from error
    except Unreachable as error:
        log.info("A picture at %s is not fetched: %s.", urlsplit(url).hostname, error)
        # The same for a host that does not answer as for one inside, so that nobody learns names from the difference.
        raise problems.FETCH_FAILED(
            "The picture could not be fetched from its URL: no server on the Internet answered with it in time. "
            "Check the URL, or send the picture itself."
        ) from error
    if answer.status != 200:
        raise problems.FETCH_FAILED(
            f"The server at this URL answered {answer.status} instead of the picture. Check the URL, or send the "
            "picture itself."
        )
    return answer.body
