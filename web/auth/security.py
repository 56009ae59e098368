"""Headers that tell browsers what not to do, and a refusal of requests that another site makes."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from flask import Flask, Response, g, request

from common import problems
from common.keyring import Keyring
from common.settings import Settings

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
    # Nothing to other sites. Not `no-referrer`: with it, browsers hide from us, too, which site posts a form.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

#: Endpoints that answer under every host name: a health probe often sends none, or that of a container or a pod.
HEALTH = frozenset({"health.alive", "health.ready"})


def protect(app: Flask, settings: Settings, keyring: Keyring) -> None:
    """Add the headers to every answer of `app`, and refuse what other sites ask for."""
    names = {name.strip().lower() for name in (*settings.hosts.split(","), settings.host, "localhost")} - {""}

    @app.after_request
    def add_headers(response: Response) -> Response:
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    @app.before_request
    def refuse_unknown_names() -> None:
        """A page of another site can have its own name lead here, and is then of the same origin for its browser.

        It cannot do so with an address, and with keys it gains nothing: it has none. Health checks answer such a
        page as they answer a client without a key.
        """
        g.unknown_host = not (keyring.needed or is_address(request.host) or host_of(request.host) in names)
        if g.unknown_host and request.endpoint not in HEALTH:
            raise problems.UNKNOWN_HOST(
                "Without API keys the service is called by its address or as localhost. Whoever runs it can give it "
                "this name by CAPTIOND_HOSTS, or make keys."
            )

    @app.before_request
    def refuse_foreign() -> None:
        if request.method not in SAFE_METHODS and is_foreign():
            raise problems.FOREIGN_ORIGIN("Only this service's own page, or a program, may ask for this.")


def host_of(netloc: str) -> str:
    """The name or address of a Host header, without port and brackets."""
    try:
        return urlsplit(f"//{netloc}").hostname or ""
    except ValueError:
        return ""


def is_address(netloc: str) -> bool:
    """Whether a Host header has an IP address, which no name server can have given."""
    try:
        ipaddress.ip_address(host_of(netloc))
    except ValueError:
        return False
    return True


def is_own() -> bool:
    """Whether a browser says that this site's own page made this request. Programs such as curl say nothing."""
    said = request.headers.get("Sec-Fetch-Site") or request.headers.get("Origin")
    return said is not None and not is_foreign()


def is_foreign() -> bool:
    """Whether a browser says that another site made this request. Programs such as curl say nothing."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = request.headers.get("Origin")
    return origin is not None and urlsplit(origin).netloc != request.host
