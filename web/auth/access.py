"""Who is asking, and whether they may: the one place that decides, before any view runs."""

from __future__ import annotations

from collections.abc import Mapping

from flask import Flask, g, request
from werkzeug.http import parse_cookie

from common import problems
from common.keyring import Key, Keyring, Scope
from common.ledger import ANONYMOUS, UNRESTRICTED, Principal
from web.auth.security import is_foreign, is_own

COOKIE = "captiond_key"

#: What a key must be for to reach an endpoint; None for what is open to strangers. An endpoint that does not stand
#: here takes an administrator's key.
NEEDS: Mapping[str, Scope | None] = {
    "static": None,
    "health.alive": None,
    "health.ready": None,
    "docs.description": None,
    "docs.page": None,
    "session.sign_in": None,
    "session.sign_out": None,
    "pages.index": Scope.READ,
    "pages.upload": Scope.SUBMIT,
    "pages.job": Scope.READ,
    "pages.batch": Scope.READ,
    "jobs.create": Scope.SUBMIT,
    "jobs.index": Scope.READ,
    "jobs.show": Scope.READ,
    "jobs.image": Scope.READ,
    "jobs.cancel": Scope.SUBMIT,
    "jobs.delete": Scope.SUBMIT,
    "batches.create": Scope.SUBMIT,
    "batches.show": Scope.READ,
    "batches.results": Scope.READ,
    "batches.cancel": Scope.SUBMIT,
    "models.index": Scope.READ,
}


def guard(app: Flask, keyring: Keyring) -> None:
    """Ask each request of `app` for a key, when keys are needed, and hold it to what its key is for.

    The key is looked up once, here, and in `flask.g` as `key` from then on; `principal` is what the ledger takes.
    """

    @app.before_request
    def check() -> None:
        g.needed = keyring.needed
        g.key = _key(keyring) if g.needed else None
        g.principal = _principal(g.key) if g.needed else UNRESTRICTED
        endpoint = request.endpoint
        if endpoint is None or not g.needed:  # an address where there is nothing tells nothing
            return
        scope = NEEDS.get(endpoint, Scope.ADMIN)
        if scope is None:
            return
        if g.key is None:
            raise _stranger()
        if not g.key.may(scope):
            raise problems.KEY_REFUSED(
                f"The key {g.key.name} is not for this: it would have to be for `{scope}`. Use another key, or have "
                f"one made: captiond keys add NAME --scope {scope}"
            )


def is_stranger() -> bool:
    """Whether this request came without the key that it would need for more than the open endpoints."""
    return g.needed and g.key is None


def secret_of(authorization: str | None, cookie: str | None) -> tuple[str | None, bool]:
    """The secret that a request's headers bring, and whether it comes from the cookie."""
    scheme, _, secret = (authorization or "").partition(" ")
    if scheme.lower() == "bearer" and secret.strip():
        return secret.strip(), False
    return parse_cookie(cookie).get(COOKIE), True


def _key(keyring: Keyring) -> Key | None:
    secret, from_cookie = secret_of(request.headers.get("Authorization"), request.headers.get("Cookie"))
    # A browser sends the cookie by itself: it counts only for what this site's own page asks for. To look, it is
    # enough that no other site is named; to change something, the browser must say that it was this one.
    if secret is None or (from_cookie and (is_foreign() if request.method in ("GET", "HEAD") else not is_own())):
        return None
    return keyring.find(secret)


def _principal(key: Key | None) -> Principal:
    return Principal(key.name, key.may(Scope.ADMIN)) if key else ANONYMOUS


def _stranger() -> problems.Problem:
    if request.authorization is not None:
        return problems.KEY_NEEDED(
            "This key is not known here: it was revoked, or not copied whole. Have one made: captiond keys add NAME"
        )
    return problems.KEY_NEEDED(
        "Send an API key as `Authorization: Bearer KEY`, or open the page and enter it there. Who runs the service "
        "makes one: captiond keys add NAME"
    )
