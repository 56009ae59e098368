"""Client address, scheme and path prefix from the X-Forwarded headers of trusted reverse proxies."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

#: One segment of a URL path.
_SEGMENT = re.compile(r"[\w.~!$&'()*+=:@%-]+", re.ASCII)

log = logging.getLogger(__name__)


def trust(app: Flask, proxies: int) -> None:
    """Trust the headers of this number of proxies in front of `app`.

    Each proxy appends to X-Forwarded-For, so the client's address is at this position from its end. The last value
    of X-Forwarded-Proto and X-Forwarded-Prefix is used, because proxies set these or pass them on. X-Forwarded-Host
    is ignored: a forged value could name a host that the service accepts.
    """
    wsgi_app = app.wsgi_app

    def with_normalized_prefix(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ["SCRIPT_NAME"] = normalize_prefix(environ["SCRIPT_NAME"])
        return wsgi_app(environ, start_response)

    app.wsgi_app = ProxyFix(with_normalized_prefix, x_for=proxies, x_proto=1, x_prefix=1)  # type: ignore[method-assign]


def normalize_prefix(prefix: str) -> str:
    """The prefix with one slash before each segment and none at its end; empty, with a warning, if it is no path.

    Two slashes at the beginning would turn links into links to another host.
    """
    segments = [segment for segment in prefix.split("/") if segment]
    if not all(_SEGMENT.fullmatch(segment) for segment in segments):
        log.warning("Ignoring X-Forwarded-Prefix %r, because it is not a valid path.", prefix)
        return ""
    return "".join(f"/{segment}" for segment in segments)
