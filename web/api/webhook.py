"""The `Webhook-URL` header: the URL that receives an event when the job or batch is finished."""

from __future__ import annotations

from flask import request

from common import problems
from common.outbound import UrlNotAllowed
from web.services import Services

HEADER = "Webhook-URL"


def requested_webhook(services: Services) -> str | None:
    """The webhook URL of the request, None without the header; raises `url-not-allowed`."""
    url = request.headers.get(HEADER)
    if url is None:
        return None
    try:
        services.outbound.parse_url(url)
    except UrlNotAllowed as error:
        raise problems.URL_NOT_ALLOWED("Webhook-URL: {reason}", reason=error.args[0]) from error
    return url
