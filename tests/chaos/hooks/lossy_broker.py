"""A broker that takes every message and loses it for as long as the file named by LOSING exists.

`python -m tests.chaos.hooks.lossy_broker` is the web server with it, `celery -A tests.chaos.hooks.lossy_broker worker`
the worker.
"""

from __future__ import annotations

import os
import runpy
from pathlib import Path
from typing import Any

from kombu.messaging import Producer

from tests.chaos.hooks import app_when_asked

_publish = Producer._publish


def _lose(self: Producer, *arguments: Any, **options: Any) -> Any:
    return None if Path(os.environ["LOSING"]).exists() else _publish(self, *arguments, **options)


Producer._publish = _lose  # type: ignore[method-assign]

__getattr__ = app_when_asked  # only the worker has use for it


if __name__ == "__main__":
    runpy.run_module("web", run_name="__main__")
