"""A broker that accepts and loses every message while the file named by LOSING exists.

`python -m tests.chaos.hooks.lossy_broker` starts the web server with this broker,
`celery -A tests.chaos.hooks.lossy_broker worker` the worker.
"""

from __future__ import annotations

import os
import runpy
from pathlib import Path
from typing import Any

from kombu.messaging import Producer

from tests.chaos.hooks import load_celery_app

_publish = Producer._publish


def _lose(self: Producer, *arguments: Any, **options: Any) -> Any:
    return None if Path(os.environ["LOSING"]).exists() else _publish(self, *arguments, **options)


Producer._publish = _lose  # type: ignore[method-assign]

__getattr__ = load_celery_app


if __name__ == "__main__":
    runpy.run_module("web", run_name="__main__")
