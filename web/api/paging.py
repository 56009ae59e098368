"""Query parameters of lists: `limit`, `cursor` and `status`."""

from __future__ import annotations

from flask import request

from common import problems
from common.jobs import Status, is_id
from common.problems import shown_name


def query_int(name: str, default: int, maximum: int, minimum: int = 1) -> int:
    """An integer query parameter from `minimum` to `maximum`; raises `bad-request`."""
    text = request.args.get(name, str(default))
    if not (text.isascii() and text.isdigit() and minimum <= int(text[:9]) <= maximum):
        raise problems.BAD_REQUEST(
            "`{name}` must be a whole number from {minimum} to {maximum}.", name=name, minimum=minimum, maximum=maximum
        )
    return int(text)


def query_cursor() -> str | None:
    """The query parameter `cursor`, None for the first page; raises `bad-request`."""
    cursor = request.args.get("cursor")
    if cursor is not None and not is_id(cursor):
        raise problems.BAD_REQUEST(
            "`cursor` must be the `next` value of the previous page. Leave it out for the first page."
        )
    return cursor


def query_status() -> Status | None:
    """The query parameter `status`, None if it is left out; raises `bad-request`."""
    status = request.args.get("status")
    if status is not None and status not in set(Status):
        raise problems.BAD_REQUEST(
            "There is no status {status}. Use one of {known}.", status=shown_name(status), known=", ".join(Status)
        )
    return Status(status) if status else None
