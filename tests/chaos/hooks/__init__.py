"""Parts of the service with a fault put in, started by the chaos tests."""

from __future__ import annotations

from typing import Any


def app_when_asked(name: str) -> Any:
    """A hook's `__getattr__`: Celery's `app`, imported only where a worker asks for it."""
    if name != "app":
        raise AttributeError(name)
    from worker.celery import app

    return app
