"""One Celery task per image: Flask enqueues the bytes and waits for the result, a worker captions one at a time.

Web: `python -m benchmarks.peers.plain_celery`; worker: `celery -A benchmarks.peers.plain_celery worker --pool solo`.
"""

from __future__ import annotations

import os
from functools import cache

from celery import Celery
from flask import Flask, request

from benchmarks.peers.model import Generate, port

#: Seconds that a request waits for the task's result.
TIMEOUT = 600
broker = os.environ["BENCHMARK_BROKER"]
app = Celery("plain", broker=broker, backend=broker)
web = Flask(__name__)


@cache
def model() -> Generate:
    return Generate()


@app.task(name="caption")  # explicit, because this module is `__main__` in the web process
def caption_task(image: bytes) -> str:
    return model()([image])[0]


@web.post("/caption")
def caption() -> dict[str, str]:
    return {"caption": caption_task.delay(request.get_data()).get(timeout=TIMEOUT)}


if __name__ == "__main__":
    web.run(port=port())
