"""The Flask application."""

from __future__ import annotations

from typing import Any

from celery import Celery
from flask import Flask
from flask.json.provider import DefaultJSONProvider
from redis import Redis

from common import strict_json
from common.ledger import connect
from common.queue import make_celery
from common.settings import Settings
from web import body_limits, docs, errors, forms, pages, proxies
from web.api import batches, health, jobs, models
from web.auth import access, rates, security, session
from web.services import Services


class Json(DefaultJSONProvider):
    """Flask's JSON, in the order of the members, and without NaN and Infinity."""

    sort_keys = False

    def dumps(self, obj: Any, **kwargs: Any) -> str:
        return strict_json.dumps(obj, **{"default": self.default, "ensure_ascii": self.ensure_ascii, **kwargs})


def create_app(settings: Settings | None = None, *, redis: Redis | None = None, celery: Celery | None = None) -> Flask:
    """The application for `settings`, by default those of the environment.

    A test may bring its own Redis client (with `decode_responses`) and Celery.
    """
    settings = settings or Settings()
    app = Flask(__name__)
    app.json = Json(app)
    app.request_class = forms.FormRequest
    app.extensions["captiond"] = Services(
        settings, redis or connect(settings.redis_location), celery or make_celery(settings)
    )
    here = app.extensions["captiond"]
    body_limits.limit(app, settings)
    security.protect(app, settings, here.keyring)
    access.guard(app, here.keyring)
    rates.limit(app, rates.Rates(here.redis, settings))
    errors.handle(app)
    for part in (pages, session, jobs, batches, models, health, docs):
        app.register_blueprint(part.blueprint)
    if settings.trusted_proxies:
        proxies.trust(app, settings.trusted_proxies)
    return app
