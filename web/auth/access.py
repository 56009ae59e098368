"""Authentication and authorisation of every request, before its view runs."""

from __future__ import annotations

from collections.abc import Mapping

from flask import Flask, g, request
from redis import RedisError
from werkzeug.datastructures import Authorization
from werkzeug.http import parse_cookie

from common import problems
from common.keyring import Key, Keyring, Scope
from common.ledger import ANONYMOUS, UNRESTRICTED, Principal
from web.auth.security import is_cross_site, is_same_origin

COOKIE = "captiond_key"

#: The scope that each endpoint requires; None for a public endpoint. An endpoint that is not listed requires `admin`.
REQUIRED_SCOPES: Mapping[str, Scope | None] = {
    "static": None,
    "health.alive": None,
    "health.ready": None,
    "health.captioning": None,
    "docs.description": None,
    "docs.page": None,
    "session.sign_in": None,
    "session.sign_out": None,
    "language.choose": None,
    "pages.index": Scope.READ,
    "pages.upload": Scope.SUBMIT,
    "pages.job": Scope.READ,
    "pages.batch": Scope.READ,
    "jobs.create": Scope.SUBMIT,
    "jobs.index": Scope.READ,
    "jobs.show": Scope.READ,
    "jobs.image": Scope.READ,
    "jobs.cancel": Scope.SUBMIT,
    "jobs.retry": Scope.SUBMIT,
    "jobs.delete": Scope.SUBMIT,
    "edits.one": Scope.SUBMIT,
    "edits.many": Scope.SUBMIT,
    "batches.create": Scope.SUBMIT,
    "batches.index": Scope.READ,
    "batches.show": Scope.READ,
    "batches.add_item": Scope.SUBMIT,
    "batches.seal": Scope.SUBMIT,
    "batches.jobs": Scope.READ,
    "results.show": Scope.READ,
    "batches.cancel": Scope.SUBMIT,
    "batches.retry": Scope.SUBMIT,
    "batches.delete": Scope.SUBMIT,
    "models.index": Scope.READ,
    "workers.index": Scope.ADMIN,
    "pages.workers": Scope.ADMIN,
    "metrics.show": Scope.READ,
    "queue.show": Scope.READ,
    "openai.models": Scope.READ,
    "openai.chat_completions": Scope.SUBMIT,
    "ollama.version": Scope.READ,
    "ollama.tags": Scope.READ,
    "ollama.show": Scope.READ,
    "ollama.generate": Scope.SUBMIT,
    "ollama.chat": Scope.SUBMIT,
    "huggingface.image_to_text": Scope.SUBMIT,
    "photoprism.caption": Scope.SUBMIT,
    "label_studio.health": Scope.SUBMIT,
    "label_studio.setup": Scope.SUBMIT,
    "label_studio.predict": Scope.SUBMIT,
    "label_studio.webhook": None,
    "mcp.answer": Scope.SUBMIT,
}


def require_keys(app: Flask, keyring: Keyring) -> None:
    """Require an API key with the endpoint's scope for each request of `app`, if API keys exist.

    Sets `g.keys_required`, `g.key` (None without a valid key) and `g.principal` for the rest of the request.
    """

    @app.before_request
    def authorize() -> None:
        endpoint = request.endpoint
        # Without an endpoint, the answer is 404 for everyone.
        scope = REQUIRED_SCOPES.get(endpoint, Scope.ADMIN) if endpoint else None
        g.keys_required, g.key, g.principal = keyring.needed, None, UNRESTRICTED
        if not g.keys_required:
            return
        g.principal = ANONYMOUS
        try:
            g.key = _request_key(keyring)
        except RedisError:
            if scope is not None:
                raise
        if g.key is not None:
            g.principal = Principal(g.key.name, g.key.may(Scope.ADMIN))
        if scope is not None:
            check_scope(scope)


def check_scope(scope: Scope) -> None:
    """Raise `key-needed` or `key-refused` if API keys exist and that of this request does not have `scope`."""
    if not g.keys_required:
        return
    if g.key is None:
        raise _key_needed()
    if not g.key.may(scope):
        raise problems.KEY_REFUSED(
            "This request requires the scope `{scope}`, which the key {name} does not have. Use another key, or "
            "create one: captiond keys add NAME --scope {scope}",
            scope=str(scope),
            name=g.key.name,
        )


def is_unauthenticated() -> bool:
    """Whether API keys exist and this request has no valid one."""
    return g.keys_required and g.key is None


def secret_of(authorization: str | None, cookie: str | None) -> tuple[str | None, bool]:
    """The secret in the Authorization or Cookie header, and whether it comes from the cookie.

    With HTTP basic authentication, which is all that some clients can do, the password is the secret.
    """
    credentials = Authorization.from_header(authorization)
    secret = credentials and (credentials.token if credentials.type == "bearer" else credentials.password)
    return (secret, False) if secret else (parse_cookie(cookie).get(COOKIE), True)


def _request_key(keyring: Keyring) -> Key | None:
    secret, from_cookie = secret_of(request.headers.get("Authorization"), request.headers.get("Cookie"))
    # Browsers attach the cookie to requests of other sites, too. For a safe method it is ignored if the browser names
    # another site; for any other method it is ignored unless the browser names this origin.
    if secret is None or (
        from_cookie and (is_cross_site() if request.method in ("GET", "HEAD") else not is_same_origin())
    ):
        return None
    return keyring.find(secret)


def _key_needed() -> problems.Problem:
    if request.authorization is not None:
        return problems.KEY_NEEDED(
            "This API key is unknown: it was revoked, or copied incompletely. Create a key: captiond keys add NAME"
        )
    return problems.KEY_NEEDED(
        "Send an API key as `Authorization: Bearer KEY`, or open the page and enter it there. The operator of the "
        "service creates keys: captiond keys add NAME"
    )
