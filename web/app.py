"""The Flask application."""

from __future__ import annotations

from celery import Celery
from flask import Flask
from redis import Redis

from common.ledger import connect
from common.queue import make_celery
from common.settings import Settings
from web import batches, errors, health, jobs, models, pages, security
from web.services import Services


def create_app(settings: Settings | None = None, *, redis: Redis | None = None, celery: Celery | None = None) -> Flask:
    """The application for `settings`, by default those of the environment.

    A test may bring its own Redis client (with `decode_responses`) and Celery.
    """
    settings = settings or Settings()
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = settings.max_upload_bytes + jobs.FORM_OVERHEAD
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.extensions["captiond"] = Services(
        settings, redis or connect(settings.redis_location), celery or make_celery(settings)
    )
    security.protect(app)
    errors.handle(app)
    for part in (pages, jobs, batches, models, health):
        app.register_blueprint(part.blueprint)
    return app
