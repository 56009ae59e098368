"""A Celery task for each picture: Flask enqueues the bytes and waits for the result, a worker captions one at a time.

Web: `python -m benchmarks.peers.plain_celery`; worker: `celery -A benchmarks.peers.plain_celery worker --pool solo`.
"""

from __future__ import annotations

import os
from functools import cache

from celery import Celery
from flask import Flask, request

from benchmarks.peers.model import Generate, port

#: Seconds a client may wait.
TIMEOUT = 600
broker = os.environ["BENCHMARK_BROKER"]
app = Celery("plain", broker=broker, backend=broker)
web = Flask(__name__)


@cache
def model() -> Generate:
    return Generate()


@app.task(name="caption")  # the web process knows this module as `__main__`
def caption_task(picture: bytes) -> str:
    return model()([picture])[0]


@web.post("/caption")
def caption() -> dict[str, str]:
    return {"caption": caption_task.delay(request.get_data()).get(timeout=TIMEOUT)}


if __name__ == "__main__":
    web.run(port=port())
