"""Sign-in of the page: the API key is stored in a cookie with HttpOnly and SameSite=Strict."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, g, redirect, request, url_for
from werkzeug.wrappers import Response as WerkzeugResponse

from common import problems
from web.auth.access import COOKIE
from web.services import get_services

#: Seconds after which a browser deletes the cookie.
COOKIE_MAX_AGE = 30 * 86400

blueprint = Blueprint("session", __name__)


@blueprint.post("/sign-in")
def sign_in() -> WerkzeugResponse:
    """Store the form's `key` in a cookie; raises `key-needed` for an unknown key."""
    secret = request.form.get("key", "").strip()
    if g.keys_required and get_services().keyring.find(secret) is None:
        raise problems.KEY_NEEDED("This API key is unknown. Copy all of it, including the prefix `captiond_`.")
    response = redirect(url_for("pages.index"), 303)
    if g.keys_required:
        response.set_cookie(COOKIE, secret, max_age=COOKIE_MAX_AGE, **_attributes())
    return response


@blueprint.post("/sign-out")
def sign_out() -> WerkzeugResponse:
    """Delete the cookie and the browser's cached pages."""
    response = redirect(url_for("pages.index"), 303)
    response.delete_cookie(COOKIE, **_attributes())
    # Below a path prefix the host's storage is shared with other applications, so it is not cleared.
    response.headers["Clear-Site-Data"] = '"cache"' if request.script_root else '"cache", "storage"'
    return response


def _attributes() -> dict[str, Any]:
    """Attributes of the cookie. Its path is that of the service at its proxy."""
    path = request.script_root or "/"
    return {"path": path, "secure": request.is_secure, "httponly": True, "samesite": "Strict"}


@blueprint.app_context_processor
def signed_in() -> dict[str, Any]:
    """Provide `signed_in` to templates: the name of the cookie's key, None if there is no cookie."""
    key = g.get("key")
    return {"signed_in": key.name if key and request.cookies.get(COOKIE) else None}


@blueprint.after_app_request
def forbid_shared_caching(response: Response) -> Response:
    """Keep responses to authenticated requests out of shared caches, and revalidate them after signing out."""
    if g.get("key") and "Cache-Control" not in response.headers:
        response.headers["Cache-Control"] = "private, no-cache"
    return response
