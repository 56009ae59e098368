"""Web servers and workers with an injected fault, started by the chaos tests."""

from __future__ import annotations

from typing import Any


def load_celery_app(name: str) -> Any:
    """`__getattr__` of the hook modules: imports the Celery app lazily, as only the worker needs it."""
    if name != "app":
        raise AttributeError(name)
    from worker.celery import app

    return app
