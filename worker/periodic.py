"""Threads that do something again and again, whatever goes wrong."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from redis import RedisError

from common.uploads import UploadsUnavailable

log = logging.getLogger(__name__)


def periodic_thread(name: str, seconds: float, action: Callable[[], None], ended: threading.Event) -> threading.Thread:
    """A daemon thread that calls `action` every `seconds` until `ended` is set. Errors are logged and do not end it."""
    return threading.Thread(target=_run, args=(name, seconds, action, ended), name=name, daemon=True)


def _run(name: str, seconds: float, action: Callable[[], None], ended: threading.Event) -> None:
    redis_away = False
    while not ended.wait(seconds):
        try:
            action()
        except RedisError as error:
            if not redis_away:  # one line per outage
                log.warning("Redis does not answer (%s); continuing when it is back.", error)
            redis_away = True
        except UploadsUnavailable:
            pass  # logged by the store
        except Exception:
            log.exception("The thread %s got an error; continuing.", name)
        else:
            redis_away = False
