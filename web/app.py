"""The Flask application factory."""

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
from web import body_limits, docs, errors, forms, language, metrics, pages, proxies, subjects
from web.api import batches, edits, health, jobs, models, queue, results, workers
from web.auth import access, rates, security, session
from web.compat import register_protocols
from web.services import Services


class StrictJSONProvider(DefaultJSONProvider):
    """Flask's JSON provider, which keeps the order of members and writes NaN and infinity as null."""

    sort_keys = False

    def dumps(self, obj: Any, **kwargs: Any) -> str:
        return strict_json.dumps(obj, **{"default": self.default, "ensure_ascii": self.ensure_ascii, **kwargs})


def create_app(settings: Settings | None = None, *, redis: Redis | None = None, celery: Celery | None = None) -> Flask:
    """Create the application.

    `settings` default to those of the environment. `redis` (with `decode_responses`) and `celery` are for tests.
    """
    settings = settings or Settings()
    app = Flask(__name__)
    app.json = StrictJSONProvider(app)
    app.request_class = forms.FormRequest
    # Fewer blank lines in the pages.
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    services = Services(settings, redis or connect(settings.redis_location), celery or make_celery(settings))
    app.extensions["captiond"] = services
    body_limits.set_limits(app, settings)
    subjects.log_subjects(app)
    security.protect(app, settings, services.keyring)
    access.require_keys(app, services.keyring)
    rates.limit_rates(app, rates.RateLimiter(services.redis, settings))
    errors.register_handlers(app)
    modules = (pages, session, language, jobs, edits, batches, results, models, workers, queue, health, metrics, docs)
    for module in modules:
        app.register_blueprint(module.blueprint)
    register_protocols(app, settings)
    if settings.trusted_proxies:
        proxies.trust(app, settings.trusted_proxies)
    return app
