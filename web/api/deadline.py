"""The `Cancel-After` header: the number of seconds after which a job or a batch is canceled unless it has ended."""

from __future__ import annotations

from flask import request

from common import problems
from common.settings import Settings

HEADER = "Cancel-After"


def requested_cancel_after(settings: Settings) -> int | None:
    """The seconds in the request's header, None without it; raises `bad-request`."""
    text = request.headers.get(HEADER)
    if text is None:
        return None
    maximum = int(settings.retention)
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= maximum):
        raise problems.BAD_REQUEST(
            "`{header}` must be a whole number of seconds from 1 to {maximum}.", header=HEADER, maximum=maximum
        )
    return int(text)
