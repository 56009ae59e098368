"""Signing in on the page: the API key goes into a cookie that no script can read and no other site can use."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, g, redirect, request, url_for
from werkzeug.wrappers import Response as WerkzeugResponse

from common import problems
from web.auth.access import COOKIE
from web.services import services

#: Seconds for which a browser keeps the key.
KEPT = 30 * 86400

blueprint = Blueprint("session", __name__)


@blueprint.post("/sign-in")
def sign_in() -> WerkzeugResponse:
    """The form's `key` becomes a cookie; a wrong one is asked for again."""
    secret = request.form.get("key", "").strip()
    if g.needed and services().keyring.find(secret) is None:
        raise problems.KEY_NEEDED("This key is not known here. Copy it whole, from `captiond_` to its end.")
    response = redirect(url_for("pages.index"), 303)
    if g.needed:
        response.set_cookie(COOKIE, secret, max_age=KEPT, **_attributes())
    return response


@blueprint.post("/sign-out")
def sign_out() -> WerkzeugResponse:
    """Without the cookie, and without what the browser kept of the pages."""
    response = redirect(url_for("pages.index"), 303)
    response.delete_cookie(COOKIE, **_attributes())
    # Below a prefix, what is stored for the host is also that of the other applications there.
    response.headers["Clear-Site-Data"] = '"cache"' if request.script_root else '"cache", "storage"'
    return response


def _attributes() -> dict[str, Any]:
    """The cookie's attributes: it is for no script, for no other site, and for nothing beside this service's path."""
    path = request.script_root or "/"
    return {"path": path, "secure": request.is_secure, "httponly": True, "samesite": "Strict"}


@blueprint.app_context_processor
def signed_in() -> dict[str, Any]:
    """The name of the key for the pages' sign-out button; None where there is nothing to sign out of."""
    key = g.get("key")
    return {"signed_in": key.name if key and request.cookies.get(COOKIE) else None}


@blueprint.after_app_request
def keep_private(response: Response) -> Response:
    """What a key opens is not for a cache that others use, nor to be shown after signing out."""
    if g.get("key") and "Cache-Control" not in response.headers:
        response.headers["Cache-Control"] = "private, no-cache"
    return response
