"""Headers that tell browsers what not to do, and a refusal of requests that another site sends."""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import Flask, Response, request

from common import problems

#: Nothing but this site's own files; `blob:` is for previews of pictures that are still being uploaded.
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob:",
        "connect-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    )
)

HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def protect(app: Flask) -> None:
    """Add the headers to every answer of `app`, and refuse changes asked for by other sites."""

    @app.after_request
    def add_headers(response: Response) -> Response:
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    @app.before_request
    def refuse_foreign() -> None:
        if request.method not in SAFE_METHODS and is_foreign():
            raise problems.FOREIGN_ORIGIN("Only this service's own page, or a program, may ask for this.")


def is_foreign() -> bool:
    """Whether a browser says that another site made this request. Programs such as curl say nothing."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = request.headers.get("Origin")
    return origin is not None and urlsplit(origin).netloc != request.host
