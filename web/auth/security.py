"""Security headers of every response, and protection against cross-site requests and DNS rebinding."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from flask import Flask, Response, g, request

from common import problems
from common.keyring import Keyring
from common.settings import Settings

#: Allow only files of this origin. `blob:` is for the previews of images that are being uploaded.
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
    # Not `no-referrer`: with it, browsers send `Origin: null` for forms of this origin, too.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

#: Endpoints that accept every Host header: health probes often send none, or the name of a container or pod.
HEALTH_ENDPOINTS = frozenset({"health.alive", "health.ready", "health.captioning"})


def protect(app: Flask, settings: Settings, keyring: Keyring) -> None:
    """Add the security headers to every response of `app`, and refuse unknown hosts and cross-site requests."""
    hosts = {name.strip().lower() for name in (*settings.hosts.split(","), settings.host, "localhost")} - {""}

    @app.after_request
    def add_headers(response: Response) -> Response:
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    @app.before_request
    def refuse_unknown_host() -> None:
        """Prevent DNS rebinding: a site that resolves its own name to this server becomes the same origin.

        IP addresses cannot be rebound, and with API keys the attack gains nothing, because the site has no key. Health
        checks accept any host, and disclose no more than to a client without a key.
        """
        g.unknown_host = not (keyring.needed or is_ip_address(request.host) or hostname(request.host) in hosts)
        if g.unknown_host and request.endpoint not in HEALTH_ENDPOINTS:
            raise problems.UNKNOWN_HOST(
                "Without API keys the service answers only to its IP address, to localhost and to the names in "
                "CAPTIOND_HOSTS. Ask the operator to add this name there, or to create API keys."
            )

    @app.before_request
    def refuse_cross_site() -> None:
        if request.method not in SAFE_METHODS and is_cross_site():
            raise problems.FOREIGN_ORIGIN("A page of another site may not send this request.")


def hostname(netloc: str) -> str:
    """The host name or IP address of a Host header, without port and brackets; empty if it is invalid."""
    try:
        return urlsplit(f"//{netloc}").hostname or ""
    except ValueError:
        return ""


def is_ip_address(netloc: str) -> bool:
    """Whether a Host header contains an IP address, and thus no name that DNS resolved."""
    try:
        ipaddress.ip_address(hostname(netloc))
    except ValueError:
        return False
    return True


def is_same_origin() -> bool:
    """Whether the browser names this origin as the request's source. False for clients that name none, such as curl."""
    source = request.headers.get("Sec-Fetch-Site") or request.headers.get("Origin")
    return source is not None and not is_cross_site()


def is_cross_site() -> bool:
    """Whether the browser names another origin as the request's source. False for clients that name none."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = request.headers.get("Origin")
    return origin is not None and urlsplit(origin).netloc != request.host
