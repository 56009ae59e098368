"""What the proxies in front of the service say of a request: its sender's address, its scheme and its path's prefix."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

#: One segment of a path, as it is written in a URL.
_SEGMENT = re.compile(r"[\w.~!$&'()*+=:@%-]+", re.ASCII)

log = logging.getLogger(__name__)


def trust(app: Flask, proxies: int) -> None:
    """Believe the headers of so many proxies in front of `app`.

    Each of them adds to X-Forwarded-For, so that the sender's address is that many values from its end. Of
    X-Forwarded-Proto and X-Forwarded-Prefix the last value counts: proxies set these, or hand on what they got.
    X-Forwarded-Host counts never: a forged one would pass for a name that the service knows.
    """
    serve = app.wsgi_app

    def below_prefix(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ["SCRIPT_NAME"] = normalized(environ["SCRIPT_NAME"])
        return serve(environ, start_response)

    app.wsgi_app = ProxyFix(below_prefix, x_for=proxies, x_proto=1, x_prefix=1)  # type: ignore[method-assign]


def normalized(prefix: str) -> str:
    """The prefix with one slash before each segment and none behind; empty, with a warning, for what is no path.

    Two slashes at the beginning would make a link to another host of it.
    """
    segments = [segment for segment in prefix.split("/") if segment]
    if not all(_SEGMENT.fullmatch(segment) for segment in segments):
        log.warning("X-Forwarded-Prefix is %r, which is no path; it is passed over.", prefix)
        return ""
    return "".join(f"/{segment}" for segment in segments)
